#include "runner/proxy_request.h"

#include <strings.h>

enum { METHOD_MAX = 20, BODY_DIGITS = 15, PORT_DIGITS = 5, PORT_TLS = 443, PORT_PLAIN = 80 };

struct refusal {
    int *status;
    const char **why;
};

static bool refuse(struct refusal r, int status, const char *why)
{
    *r.status = status;
    *r.why = why;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* RFC 9110's token. */
static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.ptr[i]) && (!s.ptr[i] || !strchr("!#$%&'*+-.^_`|~", s.ptr[i])))
            return false;
    return s.len > 0;
}

static bool same_word(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

/* Cuts what stands before the first c off `s`; false where there is none. */
static bool cut(struct str *s, char c, struct str *ret_before)
{
    const char *at = s->len ? memchr(s->ptr, c, s->len) : NULL;
    if (!at)
        return false;
    *ret_before = (struct str){s->ptr, (size_t)(at - s->ptr)};
    s->len -= ret_before->len + 1;
    s->ptr = at + 1;
    return true;
}

static bool parse_port(struct str s, uint16_t *ret_port)
{
    unsigned n = 0;
    if (s.len == 0 || s.len > PORT_DIGITS)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_digit(s.ptr[i]))
            return false;
        n = n * 10 + (unsigned)(s.ptr[i] - '0');
    }
    if (n == 0 || n > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)n;
    return true;
}

static bool is_host_text(struct str s, const char *also)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.ptr[i]) && (!s.ptr[i] || !strchr(also, s.ptr[i])))
            return false;
    return s.len > 0 && s.len <= PROXY_HOST_MAX;
}

/* `host`, `host:port`, `[v6]`, `[v6]:port`; also: what a name may have besides letters and digits. *ret_port stays when there is none. */
static bool parse_authority(struct str s, const char *also, struct str *ret_host, uint16_t *ret_port)
{
    struct str host = s;
    if (s.len > 0 && s.ptr[0] == '[') {
        s.ptr++;
        s.len--;
        if (!cut(&s, ']', &host) || !is_host_text(host, ":."))
            return false;
        *ret_host = host;
        return s.len == 0 || (s.ptr[0] == ':' && parse_port((struct str){s.ptr + 1, s.len - 1}, ret_port));
    }
    if (cut(&s, ':', &host) && !parse_port(s, ret_port))
        return false;
    if (host.len > 1 && host.ptr[host.len - 1] == '.')
        host.len--;
    *ret_host = host;
    return is_host_text(host, also);
}

/* ---- the head ---- */

/* http://host[:port]/path → its parts. */
static bool parse_target(struct str target, struct proxy_request *r, struct str *ret_path)
{
    static const struct str scheme = {"http://", 7};
    if (target.len <= scheme.len || strncasecmp(target.ptr, scheme.ptr, scheme.len) != 0)
        return false;
    struct str rest = {target.ptr + scheme.len, target.len - scheme.len};
    size_t n = 0;
    while (n < rest.len && rest.ptr[n] != '/' && rest.ptr[n] != '?')
        n++;
    r->port = PORT_PLAIN;
    *ret_path = (struct str){rest.ptr + n, rest.len - n};
    return parse_authority((struct str){rest.ptr, n}, "-._", &r->host, &r->port);
}

static bool parse_request_line(struct str line, struct proxy_request *r, struct str *ret_method, struct str *ret_path,
                               struct refusal no)
{
    struct str target;
    if (!cut(&line, ' ', ret_method) || !cut(&line, ' ', &target) || !is_token(*ret_method) ||
        ret_method->len > METHOD_MAX || (!str_eqz(line, "HTTP/1.1") && !str_eqz(line, "HTTP/1.0")))
        return refuse(no, 400, "that is no request of HTTP/1.1");
    for (size_t i = 0; i < target.len; i++)
        if ((unsigned char)target.ptr[i] <= ' ' || (unsigned char)target.ptr[i] >= 0x7f)
            return refuse(no, 400, "the request's target has a byte that does not belong there");
    r->connect = str_eqz(*ret_method, "CONNECT");
    if (r->connect) {
        *ret_path = STR("");
        if (!parse_authority(target, "-._", &r->host, &r->port) || r->port == 0)
            return refuse(no, 400, "CONNECT must name host:port");
    } else if (!parse_target(target, r, ret_path)) {
        return refuse(no, 400, "this is a proxy: the request must name http://host[:port]/path, or be CONNECT");
    }
    return true;
}

/* What concerns this connection alone, or would say another host or another length than ours. */
static bool is_hop_header(struct str name)
{
    static const char *const words[] = {"host",    "connection", "keep-alive",     "te",
                                        "trailer", "upgrade",    "http2-settings", "content-length"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (same_word(name, str_of(words[i])))
            return true;
    return name.len > 6 && strncasecmp(name.ptr, "proxy-", 6) == 0;
}

static bool parse_length(struct str value, int64_t *ret_len)
{
    int64_t n = 0;
    if (value.len == 0 || value.len > BODY_DIGITS)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.ptr[i]))
            return false;
        n = n * 10 + (value.ptr[i] - '0');
    }
    *ret_len = n;
    return true;
}

static struct str trim(struct str s)
{
    for (; s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'); s.ptr++)
        s.len--;
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool take_header(struct str line, struct proxy_request *r, struct strbuf *forward, struct refusal no)
{
    struct str name, value = line;
    if (!cut(&value, ':', &name) || !is_token(name))
        return refuse(no, 400, "a header is malformed");
    value = trim(value);
    for (size_t i = 0; i < value.len; i++)
        if (((unsigned char)value.ptr[i] < ' ' && value.ptr[i] != '\t') || value.ptr[i] == 0x7f)
            return refuse(no, 400, "a header has a control byte");
    if (same_word(name, STR("transfer-encoding")) && !r->connect)
        return refuse(no, 411, "say the body's length (Content-Length); Transfer-Encoding is not sent on");
    if (same_word(name, STR("content-length")) && !r->connect) {
        if (r->body_len >= 0 || !parse_length(value, &r->body_len))
            return refuse(no, 400, "Content-Length must be one number");
    }
    if (!r->connect && !is_hop_header(name))
        strbuf_addf(forward, "%.*s: %.*s\r\n", STR_ARG(name), STR_ARG(value));
    return true;
}

static void begin_forward(struct strbuf *out, const struct proxy_request *r, struct str method, struct str path)
{
    bool v6 = memchr(r->host.ptr, ':', r->host.len) != NULL;
    strbuf_addf(out, "%.*s %s%.*s HTTP/1.1\r\nHost: %s%.*s%s", STR_ARG(method),
                path.len > 0 && path.ptr[0] == '/' ? "" : "/", STR_ARG(path), v6 ? "[" : "", STR_ARG(r->host),
                v6 ? "]" : "");
    if (r->port != PORT_PLAIN)
        strbuf_addf(out, ":%u", r->port);
    strbuf_addz(out, "\r\nConnection: close\r\n");
}

/* The next line, without its end: CR LF, and no other CR or LF than that. */
static bool next_line(struct str *in, struct str *ret_line)
{
    if (!cut(in, '\n', ret_line) || ret_line->len == 0 || ret_line->ptr[ret_line->len - 1] != '\r')
        return false;
    ret_line->len--;
    return memchr(ret_line->ptr, '\r', ret_line->len) == NULL && memchr(ret_line->ptr, 0, ret_line->len) == NULL;
}

static bool parse_head(struct str head, struct proxy_request *r, struct strbuf *forward, struct refusal no)
{
    struct str line, method, path;
    if (!next_line(&head, &line))
        return refuse(no, 400, "a line of the head ends in something else than CR LF");
    if (!parse_request_line(line, r, &method, &path, no))
        return false;
    if (!r->connect)
        begin_forward(forward, r, method, path);
    for (;;) {
        if (!next_line(&head, &line))
            return refuse(no, 400, "a line of the head ends in something else than CR LF");
        if (line.len == 0)
            break;
        if (!take_header(line, r, forward, no))
            return false;
    }
    if (r->body_len < 0)
        r->body_len = 0;
    else if (!r->connect)
        strbuf_addf(forward, "Content-Length: %lld\r\n", (long long)r->body_len);
    if (!r->connect)
        strbuf_addz(forward, "\r\n");
    return strbuf_failed(forward) ? refuse(no, 431, "the request's head is too large") : true;
}

enum proxy_verdict proxy_request_parse(struct str in, struct proxy_request *ret, struct strbuf *forward,
                                       int *ret_status, const char **ret_why)
{
    struct refusal no = {ret_status, ret_why};
    struct str seen = {in.ptr, in.len < PROXY_HEAD_MAX ? in.len : PROXY_HEAD_MAX};
    const char *end = seen.len ? memmem(seen.ptr, seen.len, "\r\n\r\n", 4) : NULL;
    if (!end && in.len < PROXY_HEAD_MAX)
        return PROXY_MORE;
    if (!end) {
        refuse(no, 431, "the request's head is too large");
        return PROXY_REFUSED;
    }
    struct proxy_request r = {.head_len = (size_t)(end - in.ptr) + 4, .body_len = -1};
    if (!parse_head((struct str){in.ptr, r.head_len}, &r, forward, no))
        return PROXY_REFUSED;
    *ret = r;
    return PROXY_OK;
}

/* ---- the allowlist ---- */

static bool entry_allows(struct str entry, struct str host, uint16_t port)
{
    struct str name;
    uint16_t only = 0;
    bool below = str_starts(entry, STR("*."));
    if (below) {
        entry.ptr += 1; /* the dot stays: it stands before what is below */
        entry.len -= 1;
    }
    if (!parse_authority(entry, "-._", &name, &only) || (below && name.len < 2))
        return false;
    if (only != 0 ? port != only : port != PORT_TLS && port != PORT_PLAIN)
        return false;
    if (!below)
        return same_word(name, host);
    return host.len > name.len && host.ptr[0] != '.' &&
           same_word(name, (struct str){host.ptr + host.len - name.len, name.len});
}

bool proxy_allows(const char *const *entries, struct str host, uint16_t port)
{
    for (size_t i = 0; entries[i]; i++)
        if (entry_allows(str_of(entries[i]), host, port))
            return true;
    return false;
}
