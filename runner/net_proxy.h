/* The only way out of a sandbox with network "filtered": an HTTP proxy on the runner's loop, whose listening socket lives in the sandbox's own network namespace (errand_exec_inside.c makes it and hands it out).
 *
 * A request goes on when its host and port are on the allowlist. The name is resolved here, and the address that is connected to must be public (common/address.h) unless private ones are allowed, so that a name on the
 * list which leads into the runner's own network leads nowhere. A refusal is an answer (403 with the reason) and a note.
 *
 *   HEAD ──allowed──▶ RESOLVING ──▶ CONNECTING ──▶ RELAYING ──both sides ended──▶ CLOSED
 *     └──────────────────┴──────────────┴── refused, failed ──▶ ANSWERING ─────────▶ CLOSED
 *
 * Bounds: PROXY_CONNECTIONS at a time (more wait to be accepted), PROXY_LOOKUPS of them with the threads that resolve names, which all agents share, PROXY_BUFFER bytes in flight a direction (a side that does not take them is not read for), a head of PROXY_HEAD_MAX, and a time for each state. */
#ifndef ERRAND_RUNNER_NET_PROXY_H
#define ERRAND_RUNNER_NET_PROXY_H

#include "common/loop.h"

struct net_proxy;

enum { PROXY_CONNECTIONS = 64, PROXY_LOOKUPS = 2, PROXY_BUFFER = 32768 };

/* A refusal, as one line without its end; borrowed. */
typedef void (*net_proxy_note_fn)(void *ctx, struct str line);

/* fd: the Unix socket on which the listening socket comes; it is the proxy's from now on, also when NULL is returned (memory is out). allow: as in proxy_request.h; copied. */
struct net_proxy *net_proxy_new(struct loop *l, int fd, const char *const *allow, bool allow_private,
                                net_proxy_note_fn note, void *ctx);
/* Cuts every connection; nobody is noted anything any more. Takes NULL. */
void net_proxy_free(struct net_proxy *p);
/* Whether the listening socket has come. */
bool net_proxy_listens(const struct net_proxy *p);

#endif
