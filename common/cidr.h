/* Addresses and ranges of addresses (CIDR), IPv4 and IPv6. An IPv4 address is its IPv4-mapped IPv6 one, so both compare alike. Pure. */
#ifndef ERRAND_COMMON_CIDR_H
#define ERRAND_COMMON_CIDR_H

#include "common/base.h"

struct ip {
    unsigned char b[16];
};

struct cidr {
    struct ip ip;
    unsigned bits; /* of the 128 */
};

/* `192.0.2.1`, `2001:db8::1`; no port, no brackets, no zone. False when it is something else. */
MUST_CHECK bool ip_parse(struct str text, struct ip *ret_ip);
/* An address, or `address/bits`. Bits behind the prefix must be zero. */
MUST_CHECK bool cidr_parse(struct str text, struct cidr *ret_range);
bool cidr_holds(const struct cidr *range, const struct ip *ip);
/* Whether every address of inner is in outer. */
bool cidr_covers(const struct cidr *outer, const struct cidr *inner);
/* Whether one of the ranges holds it; words: separated by spaces or commas. Words that are no range hold nothing. */
bool cidr_words_hold(struct str words, const struct ip *ip);
/* As text, an IPv4 one in its own form; size at least 46. */
void ip_text(const struct ip *ip, char *ret_text, size_t size);
/* What a limit by source counts together: an IPv4 address, an IPv6 network of 64 bits. */
struct ip ip_source(const struct ip *ip);

#endif
