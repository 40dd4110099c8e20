/* Which addresses of a network are anybody's to call: what a request whose URL somebody outside chose may connect to. Pure; never blocks. */
#ifndef ERRAND_COMMON_ADDRESS_H
#define ERRAND_COMMON_ADDRESS_H

#include <sys/socket.h>

#include "common/base.h"

/* False for what is no public unicast address: unspecified, private, loopback, link-local (with the clouds' metadata services), shared, reserved, benchmark, documentation, multicast, broadcast; for IPv6 all that is
 * not global unicast, and what wraps such an IPv4 address (mapped, NAT64, 6to4); and for any other family. len: bytes that addr points to. */
bool address_is_public(const struct sockaddr *addr, size_t len);

#endif
