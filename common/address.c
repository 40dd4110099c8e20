#include "common/address.h"

#include <netinet/in.h>

/* The IANA special-purpose registry of IPv4 (RFC 6890 and what followed), without the entries that are reachable from everywhere. */
struct range4 {
    uint32_t first;
    int bits;
};
#define IPV4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
static const struct range4 not_public4[] = {
    {IPV4(168, 63, 129, 16), 32}, /* Azure's own services, to each of its machines */
    {IPV4(0, 0, 0, 0), 8},        {IPV4(10, 0, 0, 0), 8},     {IPV4(100, 64, 0, 0), 10}, {IPV4(127, 0, 0, 0), 8},
    {IPV4(169, 254, 0, 0), 16},   {IPV4(172, 16, 0, 0), 12},  {IPV4(192, 0, 0, 0), 24},  {IPV4(192, 0, 2, 0), 24},
    {IPV4(192, 88, 99, 0), 24},   {IPV4(192, 168, 0, 0), 16}, {IPV4(198, 18, 0, 0), 15}, {IPV4(198, 51, 100, 0), 24},
    {IPV4(203, 0, 113, 0), 24},   {IPV4(224, 0, 0, 0), 4},    {IPV4(240, 0, 0, 0), 4},
};

static bool is_public4(uint32_t ip)
{
    for (size_t i = 0; i < ARRAY_LEN(not_public4); i++)
        if ((ip ^ not_public4[i].first) >> (32 - not_public4[i].bits) == 0)
            return false;
    return true;
}

static bool has_prefix(const uint8_t ip[16], const uint8_t *prefix, size_t bits)
{
    size_t whole = bits / 8, rest = bits % 8;
    if (memcmp(ip, prefix, whole) != 0)
        return false;
    return rest == 0 || ((ip[whole] ^ prefix[whole]) >> (8 - rest)) == 0;
}

static uint32_t ipv4_at(const uint8_t *p)
{
    return IPV4(p[0], p[1], p[2], p[3]);
}

/* Inside 2000::/3, what is set aside there: 2001::/23 has Teredo and ORCHID, which lead elsewhere. */
struct range6 {
    uint8_t first[4];
    size_t bits;
};
static const struct range6 not_public6[] = {
    {{0x20, 0x01, 0x00, 0x00}, 23}, {{0x20, 0x01, 0x0d, 0xb8}, 32}, {{0x3f, 0xff, 0x00, 0x00}, 20}};

static bool is_public6(const uint8_t ip[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (has_prefix(ip, mapped, 96) || has_prefix(ip, nat64, 96))
        return is_public4(ipv4_at(ip + 12));
    if ((ip[0] & 0xe0) !=
        0x20) /* only 2000::/3 is global unicast: ::, ::1, fc00::/7, fe80::/10, ff00::/8 and the unassigned are not */
        return false;
    if (ip[0] == 0x20 && ip[1] == 0x02) /* 6to4 wraps its IPv4 address behind the prefix */
        return is_public4(ipv4_at(ip + 2));
    for (size_t i = 0; i < ARRAY_LEN(not_public6); i++)
        if (has_prefix(ip, not_public6[i].first, not_public6[i].bits))
            return false;
    return true;
}

bool address_is_public(const struct sockaddr *addr, size_t len)
{
    if (len < sizeof(sa_family_t))
        return false;
    if (addr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof in);
        return is_public4(ntohl(in.sin_addr.s_addr));
    }
    if (addr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr, sizeof in6);
        return is_public6(in6.sin6_addr.s6_addr);
    }
    return false;
}
