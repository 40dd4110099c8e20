#include "api/origin.h"

#include <strings.h>

enum { ORIGIN_MAX = 256, PROXIES_MAX = 16 };

static bool listed(const char *list, struct str origin, bool star)
{
    struct str words = str_of(list), word;
    while (str_next_word(&words, &word))
        if (str_eq(word, origin) || (star && str_eqz(word, "*")))
            return true;
    return false;
}

void origin_add_cors(const struct node *n, struct http_req *req)
{
    struct str origin = http_header(req, "origin");
    const char *list = n->config->cors_origins;
    if (!list[0])
        return;
    http_reply_header(req, "Vary", STR("Origin"));
    if (!origin.ptr || origin.len > ORIGIN_MAX || !listed(list, origin, true))
        return;
    http_reply_header(req, "Access-Control-Allow-Origin", origin);
    if (listed(list, origin, false)) /* never for `*`: any page could then use the cookie */
        http_reply_header(req, "Access-Control-Allow-Credentials", STR("true"));
    http_reply_header(
        req, "Access-Control-Expose-Headers",
        STR("Location, Content-Location, Last-Event-ID, Idempotency-Replayed, RateLimit, RateLimit-Policy, "
            "Retry-After, X-Request-Id"));
}

bool origin_is_ours(const struct node *n, const struct http_req *req)
{
    struct str origin = http_header(req, "origin"), host = http_header(req, "host");
    if (!origin.ptr || origin.len > ORIGIN_MAX || http_header_count(req, "origin") != 1)
        return false;
    if (listed(n->config->cors_origins, origin, false))
        return true;
    static const struct str schemes[] = {{"https://", 8}, {"http://", 7}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        struct str rest = {origin.ptr + schemes[i].len, origin.len - schemes[i].len};
        if (str_starts(origin, schemes[i]) && rest.len > 0 && rest.len == host.len &&
            strncasecmp(rest.ptr, host.ptr, rest.len) == 0)
            return true;
    }
    return false;
}

/* `192.0.2.1:4711`, `2001:db8::1:4711`: what stands before the last colon. */
static bool parse_peer(struct str peer, struct ip *ret_ip)
{
    while (peer.len > 0 && peer.ptr[peer.len - 1] != ':')
        peer.len--;
    if (peer.len > 0)
        peer.len--;
    return ip_parse(peer, ret_ip);
}

/* The last address of the list, without white space; shortens it. */
static struct str last_word(struct str *list)
{
    size_t begin = list->len;
    while (begin > 0 && list->ptr[begin - 1] != ',')
        begin--;
    struct str word = {list->ptr + begin, list->len - begin};
    list->len = begin > 0 ? begin - 1 : 0;
    while (word.len > 0 && (word.ptr[0] == ' ' || word.ptr[0] == '\t'))
        word.ptr++, word.len--;
    while (word.len > 0 && (word.ptr[word.len - 1] == ' ' || word.ptr[word.len - 1] == '\t'))
        word.len--;
    return word;
}

/* Walks over the addresses of all X-Forwarded-For lines, from the end. */
struct forwarded {
    const struct http_req *req;
    size_t line; /* lines before this one are still to come */
    struct str rest;
};

static bool next_forwarded(struct forwarded *f, struct str *ret_word)
{
    static const char name[] = "x-forwarded-for";
    while (f->rest.len == 0) {
        if (f->line == 0)
            return false;
        const struct http_header *h = &f->req->headers[--f->line];
        if (h->name.len == sizeof name - 1 && strncasecmp(h->name.ptr, name, sizeof name - 1) == 0)
            f->rest = h->value;
    }
    *ret_word = last_word(&f->rest);
    return true;
}

struct ip origin_client(const struct node *n, const struct http_req *req, bool *ret_known)
{
    struct ip ip = {{0}}, before;
    struct str proxies = str_of(n->config->trusted_proxies), word;
    struct forwarded f = {.req = req, .line = req->header_count};
    *ret_known = parse_peer(req->peer, &ip);
    for (int i = 0; *ret_known && proxies.len > 0 && cidr_words_hold(proxies, &ip) && next_forwarded(&f, &word); i++) {
        *ret_known = i < PROXIES_MAX && ip_parse(word, &before);
        if (*ret_known)
            ip = before;
    }
    return ip;
}
