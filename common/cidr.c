#include "common/cidr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_MAX = 46, MAPPED_BITS = 96 };

static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_v4(const struct ip *ip)
{
    return memcmp(ip->b, mapped, sizeof mapped) == 0;
}

bool ip_parse(struct str text, struct ip *ret_ip)
{
    char copy[TEXT_MAX];
    struct in_addr v4;
    struct ip ip;
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    if (inet_pton(AF_INET, copy, &v4) == 1) {
        memcpy(ip.b, mapped, sizeof mapped);
        memcpy(ip.b + sizeof mapped, &v4, 4);
    } else if (inet_pton(AF_INET6, copy, ip.b) != 1) {
        return false;
    }
    *ret_ip = ip;
    return true;
}

static bool zero_behind(const struct ip *ip, unsigned bits)
{
    for (unsigned i = bits; i < 128; i++)
        if (ip->b[i / 8] & (0x80 >> i % 8))
            return false;
    return true;
}

bool cidr_parse(struct str text, struct cidr *ret_range)
{
    const char *slash = text.len > 0 ? memchr(text.ptr, '/', text.len) : NULL;
    struct str address = {text.ptr, slash ? (size_t)(slash - text.ptr) : text.len};
    struct cidr range = {.bits = 128};
    if (!ip_parse(address, &range.ip))
        return false;
    if (slash) {
        struct str digits = {slash + 1, text.len - address.len - 1};
        bool v4 = is_v4(&range.ip) && !memchr(address.ptr, ':', address.len);
        unsigned bits = 0;
        if (digits.len == 0 || digits.len > 3 || (digits.len > 1 && digits.ptr[0] == '0'))
            return false;
        for (size_t i = 0; i < digits.len; i++) {
            if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
                return false;
            bits = bits * 10 + (unsigned)(digits.ptr[i] - '0');
        }
        if (bits > (v4 ? 32 : 128))
            return false;
        range.bits = v4 ? bits + MAPPED_BITS : bits;
    }
    if (!zero_behind(&range.ip, range.bits))
        return false;
    *ret_range = range;
    return true;
}

bool cidr_holds(const struct cidr *range, const struct ip *ip)
{
    unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(range->ip.b, ip->b, whole) != 0)
        return false;
    return rest == 0 || ((range->ip.b[whole] ^ ip->b[whole]) >> (8 - rest)) == 0;
}

bool cidr_covers(const struct cidr *outer, const struct cidr *inner)
{
    return inner->bits >= outer->bits && cidr_holds(outer, &inner->ip);
}

bool cidr_words_hold(struct str words, const struct ip *ip)
{
    size_t at = 0;
    while (at < words.len) {
        size_t begin = at;
        while (at < words.len && words.ptr[at] != ' ' && words.ptr[at] != ',')
            at++;
        struct cidr range;
        if (cidr_parse((struct str){words.ptr + begin, at - begin}, &range) && cidr_holds(&range, ip))
            return true;
        at++;
    }
    return false;
}

void ip_text(const struct ip *ip, char *ret_text, size_t size)
{
    PRE(size >= TEXT_MAX);
    bool v4 = is_v4(ip);
    const char *text =
        inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? ip->b + sizeof mapped : ip->b, ret_text, (socklen_t)size);
    POST(text);
}

struct ip ip_source(const struct ip *ip)
{
    struct ip source = *ip;
    if (!is_v4(ip))
        memset(source.b + 8, 0, 8);
    return source;
}
