#include "api/http_parse.h"

#include <llhttp.h>
#include <strings.h>

static bool is_token_char(unsigned char c)
{
    static const bool yes[256] = {
        ['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
        ['%'] = true,         ['&'] = true,         ['\''] = true,        ['*'] = true, ['+'] = true, ['-'] = true,
        ['.'] = true,         ['^'] = true,         ['_'] = true,         ['`'] = true, ['|'] = true, ['~'] = true,
    };
    return yes[c];
}

/* Ends a run of what may stand anywhere in a head. */
static bool ends_run(unsigned char c)
{
    static const bool yes[256] = {[0 ... 8] = true, [10 ... 31] = true, [0x7f] = true};
    return yes[c];
}

/* ---- where a head ends ---- */

enum err http_head_length(struct str bytes, size_t *ret_skip, size_t *ret_len, const char **ret_why)
{
    size_t skip = 0;
    *ret_len = 0;
    if (bytes.len >= 1 && bytes.ptr[0] == '\r') {
        if (bytes.len < 2)
            return ERR_OK;
        if (bytes.ptr[1] != '\n') {
            *ret_why = "a carriage return without a line feed";
            return ERR_BAD_REQUEST;
        }
        skip = 2;
    }
    *ret_skip = skip;
    size_t line_begin = skip, lines = 0;
    for (size_t i = skip; i < bytes.len; i++) {
        if (i == skip || bytes.ptr[i - 1] != '\r') { /* to the last byte of a run, which is judged for all of it */
            size_t run = i;
            while (run < bytes.len && !ends_run((unsigned char)bytes.ptr[run]))
                run++;
            i = run > i ? run - 1 : i;
        }
        unsigned char c = (unsigned char)bytes.ptr[i];
        if (lines == 0 && i - skip > LIMIT_TARGET + 32)
            return ERR_URI_TOO_LONG;
        if (i - skip > LIMIT_HEADERS)
            return ERR_HEADERS_TOO_LARGE;
        if (c == '\n' && (i == 0 || bytes.ptr[i - 1] != '\r')) {
            *ret_why = "a line feed without a carriage return";
            return ERR_BAD_REQUEST;
        }
        if (c != '\n' && i > skip && bytes.ptr[i - 1] == '\r') {
            *ret_why = "a carriage return without a line feed";
            return ERR_BAD_REQUEST;
        }
        if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f) {
            *ret_why = "a control character in the head";
            return ERR_BAD_REQUEST;
        }
        if (c != '\n')
            continue;
        if (i - line_begin == 1) { /* CRLF alone */
            if (lines == 0) {
                *ret_why = "an empty request line";
                return ERR_BAD_REQUEST;
            }
            *ret_len = i + 1 - skip;
            return ERR_OK;
        }
        lines++;
        line_begin = i + 1;
    }
    return ERR_OK;
}

/* ---- the request line ---- */

static const struct {
    const char *word;
    enum http_method method;
} methods[] = {
    {"GET", HTTP_GET_}, {"HEAD", HTTP_HEAD_},     {"POST", HTTP_POST_},
    {"PUT", HTTP_PUT_}, {"DELETE", HTTP_DELETE_}, {"OPTIONS", HTTP_OPTIONS_},
};

static enum http_method method_of(struct str word)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_eqz(word, methods[i].word))
            return methods[i].method;
    return HTTP_OTHER_;
}

/* Cuts s at the first separator; false when there is none. */
static bool cut(struct str *s, char separator, struct str *ret_before)
{
    const char *at = s->len > 0 ? memchr(s->ptr, separator, s->len) : NULL;
    if (!at)
        return false;
    *ret_before = (struct str){s->ptr, (size_t)(at - s->ptr)};
    s->len -= ret_before->len + 1;
    s->ptr = at + 1;
    return true;
}

/* Percent-decodes into out (at least s.len + 1 bytes). False for a broken escape or a decoded control character. */
static bool percent_decode(struct str s, bool plus_is_space, char *out, size_t *ret_len)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '%') {
            int hi = i + 2 < s.len ? hex_value(s.ptr[i + 1]) : -1, lo = hi >= 0 ? hex_value(s.ptr[i + 2]) : -1;
            if (lo < 0)
                return false;
            c = (char)(hi * 16 + lo);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    *ret_len = n;
    return true;
}

static bool has_dot_segment(struct str path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] != '/')
            continue;
        size_t end = i + 1;
        while (end < path.len && path.ptr[end] != '/')
            end++;
        size_t len = end - i - 1;
        if ((len == 1 && path.ptr[i + 1] == '.') || (len == 2 && path.ptr[i + 1] == '.' && path.ptr[i + 2] == '.'))
            return true;
    }
    return false;
}

static enum err parse_target(struct http_req *req, const char **ret_why)
{
    struct str t = req->target;
    for (size_t i = 0; i < t.len; i++) {
        if ((unsigned char)t.ptr[i] <= ' ' || (unsigned char)t.ptr[i] >= 0x7f || t.ptr[i] == '#') {
            *ret_why = "the request target holds a character that must be percent-encoded";
            return ERR_BAD_REQUEST;
        }
    }
    if (req->method == HTTP_OPTIONS_ && str_eqz(t, "*")) {
        req->path = STR("/");
        return ERR_OK;
    }
    size_t authority = 0;
    if (t.len > 7 && strncasecmp(t.ptr, "http://", 7) == 0) { /* absolute-form: the authority is passed over */
        size_t n = 7;
        while (n < t.len && t.ptr[n] != '/' && t.ptr[n] != '?')
            n++;
        authority = n - 7;
        t = (struct str){t.ptr + (authority ? n : 0), t.len - (authority ? n : 0)};
    }
    if (!(authority && (t.len == 0 || t.ptr[0] == '?')) && (t.len == 0 || t.ptr[0] != '/')) {
        *ret_why = "the request target must be a path that begins with /";
        return ERR_BAD_REQUEST;
    }
    struct str path = t, query = STR_NONE;
    if (cut(&t, '?', &path))
        query = t;
    if (path.len == 0)
        path = STR("/");
    char *decoded = arena_alloc(&req->arena, path.len + 1);
    size_t len = 0;
    if (!decoded)
        return ERR_NO_MEMORY;
    if (!percent_decode(path, false, decoded, &len)) {
        *ret_why = "the path holds a broken percent-encoding";
        return ERR_BAD_REQUEST;
    }
    req->path = (struct str){decoded, len};
    req->query = query;
    if (has_dot_segment(req->path)) {
        *ret_why = "the path holds a . or .. segment";
        return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

static enum err parse_request_line(struct http_req *req, struct str line, const char **ret_why)
{
    struct str word, target;
    if (!cut(&line, ' ', &word) || !cut(&line, ' ', &target) || word.len == 0 || target.len == 0) {
        *ret_why = "the request line is not METHOD TARGET HTTP/1.1";
        return ERR_BAD_REQUEST;
    }
    req->method_word = word;
    req->method = method_of(word);
    req->target = target;
    for (size_t i = 0; i < word.len; i++) {
        if (!is_token_char((unsigned char)word.ptr[i])) {
            *ret_why = "the method is not a token";
            return ERR_BAD_REQUEST;
        }
    }
    if (!str_eqz(line, "HTTP/1.1") && !str_eqz(line, "HTTP/1.0")) {
        *ret_why = "only HTTP/1.1 and HTTP/1.0 are spoken here";
        return str_starts(line, STR("HTTP/")) ? ERR_VERSION_NOT_SUPPORTED : ERR_BAD_REQUEST;
    }
    req->keep_alive = str_eqz(line, "HTTP/1.1");
    if (target.len > LIMIT_TARGET)
        return ERR_URI_TOO_LONG;
    return parse_target(req, ret_why);
}

/* ---- header fields ---- */

static struct str trim(struct str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s.ptr++, s.len--;
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static enum err parse_field(struct http_req *req, struct str line, const char **ret_why)
{
    struct str name;
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t') {
        *ret_why = "a folded header line";
        return ERR_BAD_REQUEST;
    }
    if (!cut(&line, ':', &name) || name.len == 0) {
        *ret_why = "a header line without a name and a colon";
        return ERR_BAD_REQUEST;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!is_token_char((unsigned char)name.ptr[i])) {
            *ret_why = "a header name holds a space or another character that is not allowed";
            return ERR_BAD_REQUEST;
        }
    }
    if (req->header_count >= LIMIT_HEADER_COUNT)
        return ERR_HEADERS_TOO_LARGE;
    req->headers[req->header_count++] = (struct http_header){name, trim(line)};
    return ERR_OK;
}

static bool eq_nocase(struct str s, const char *z)
{
    return s.len == strlen(z) && strncasecmp(s.ptr, z, s.len) == 0;
}

/* Whether a comma list holds the word. */
static bool list_has(struct str list, const char *word)
{
    struct str item;
    while (cut(&list, ',', &item))
        if (eq_nocase(trim(item), word))
            return true;
    return eq_nocase(trim(list), word);
}

/* Connection is a list, which may be spread over several lines. */
static bool wants_close(const struct http_req *req)
{
    for (size_t i = 0; i < req->header_count; i++)
        if (eq_nocase(req->headers[i].name, "connection") && list_has(req->headers[i].value, "close"))
            return true;
    return false;
}

/* Empty is none: an http URI without a host is invalid (RFC 9110 4.2.1). */
static bool valid_host(struct str host)
{
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];
        bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    strchr("-._~:[]%!$&'()*+;=", c);
        if (!good || c == 0)
            return false;
    }
    return host.len > 0;
}

static enum err check_host(struct http_req *req, const struct http_head *head, const char **ret_why)
{
    size_t hosts = http_header_count(req, "host");
    if (hosts > 1 || (hosts == 0 && !head->http_1_0)) {
        *ret_why = hosts ? "more than one Host" : "Host is missing";
        return ERR_BAD_REQUEST;
    }
    if (hosts == 1 && !valid_host(http_header(req, "host"))) {
        *ret_why = "Host is not a host name";
        return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

static enum err check_framing(struct http_req *req, struct http_head *head, const char **ret_why)
{
    size_t lengths = http_header_count(req, "content-length"), codings = http_header_count(req, "transfer-encoding");
    if (lengths > 1 || codings > 1 || (lengths && codings)) {
        *ret_why = lengths && codings ? "Content-Length with Transfer-Encoding"
                   : lengths          ? "more than one Content-Length"
                                      : "more than one Transfer-Encoding";
        return ERR_BAD_REQUEST;
    }
    if (codings) {
        if (!eq_nocase(http_header(req, "transfer-encoding"), "chunked")) {
            *ret_why = "the only transfer coding known here is chunked";
            return ERR_NOT_SUPPORTED;
        }
        if (head->http_1_0) {
            *ret_why = "HTTP/1.0 has no transfer codings";
            return ERR_BAD_REQUEST;
        }
        head->chunked = true;
    }
    if (lengths) {
        struct str v = http_header(req, "content-length");
        if (v.len == 0 || v.len > 15) {
            *ret_why = "Content-Length is not a number of bytes";
            return v.len > 15 ? ERR_BODY_TOO_LARGE : ERR_BAD_REQUEST;
        }
        for (size_t i = 0; i < v.len; i++) {
            if (v.ptr[i] < '0' || v.ptr[i] > '9') {
                *ret_why = "Content-Length is not a number of bytes";
                return ERR_BAD_REQUEST;
            }
            head->content_length = head->content_length * 10 + (v.ptr[i] - '0');
        }
        head->has_length = true;
    }
    return ERR_OK;
}

static enum err check_expect(struct http_req *req, struct http_head *head)
{
    struct str expect = http_header(req, "expect");
    if (!expect.ptr)
        return ERR_OK;
    if (!eq_nocase(expect, "100-continue"))
        return ERR_EXPECTATION_FAILED;
    head->expect_continue = !head->http_1_0;
    return ERR_OK;
}

/* llhttp's word, too: two parsers must agree, or the request is refused. */
static enum err check_llhttp(struct str head, enum http_method method, const char **ret_why)
{
    static _Thread_local llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    llhttp_t parser;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    llhttp_errno_t result = llhttp_execute(&parser, head.ptr, head.len);
    if (result == HPE_OK || result == HPE_PAUSED_UPGRADE)
        return ERR_OK;
    bool unknown_method = result == HPE_INVALID_METHOD && method == HTTP_OTHER_;
    *ret_why = unknown_method ? "no path takes this method" : "the head is not valid HTTP";
    return unknown_method ? ERR_METHOD_NOT_ALLOWED : ERR_BAD_REQUEST;
}

/* The CRLF at or behind `at`. */
static const char *line_end(const char *at, const char *end)
{
    while ((at = memchr(at, '\r', (size_t)(end - at))) && (at + 1 == end || at[1] != '\n'))
        at++;
    return at;
}

enum err http_head_parse(struct http_req *req, struct str raw, struct http_head *ret_head, const char **ret_why)
{
    struct http_head head = {0};
    *ret_why = NULL;
    struct str text = arena_str(&req->arena, raw);
    req->headers = arena_alloc(&req->arena, LIMIT_HEADER_COUNT * sizeof *req->headers);
    req->header_count = 0;
    if (!text.ptr || !req->headers)
        return ERR_NO_MEMORY;
    const char *end = text.ptr + text.len;
    bool first = true;
    for (const char *at = text.ptr, *eol; (eol = line_end(at, end)) && eol > at; at = eol + 2) {
        struct str line = {at, (size_t)(eol - at)};
        enum err err = first ? parse_request_line(req, line, ret_why) : parse_field(req, line, ret_why);
        if (err)
            return err;
        first = false;
    }
    head.http_1_0 = !req->keep_alive;
    if (wants_close(req)) /* before what may still be refused: the answer to that heeds it, too */
        req->keep_alive = false;
    enum err err = check_host(req, &head, ret_why);
    if (!err)
        err = check_framing(req, &head, ret_why);
    if (!err)
        err = check_expect(req, &head);
    if (!err)
        err = check_llhttp(text, req->method, ret_why);
    *ret_head = head;
    return err;
}

/* ---- chunked bodies ---- */

/*   SIZE ─ digits ─▶ SIZE ─ ';' ─▶ EXTENSION ─ CR ─▶ SIZE_LF ─ LF ─▶ DATA ─▶ DATA_CR ─▶ DATA_LF ─▶ SIZE
 *                                                             └─ size 0 ─▶ TRAILER ─ CR ─▶ TRAILER_LF ─ empty line ─▶ done
 */
enum chunk_state {
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER,
    CHUNK_TRAILER_LF
};
enum { CHUNK_DIGITS_MAX = 8, CHUNK_SKIPPED_MAX = 8192 };

static enum err broken(const char **ret_why)
{
    *ret_why = "the chunked body is broken";
    return ERR_BAD_REQUEST;
}

/* One byte of framing (anything but data). */
static enum err chunk_byte(struct http_chunked *c, unsigned char b, size_t body_len, size_t max_body, int *ret_status,
                           const char **ret_why)
{
    switch ((enum chunk_state)c->state) {
    case CHUNK_SIZE: {
        int digit = hex_value((char)b);
        if (digit >= 0 && c->digits < CHUNK_DIGITS_MAX) {
            c->left = c->left * 16 + (uint64_t)digit;
            c->digits++;
            return c->left > max_body || body_len + c->left > max_body ? ERR_BODY_TOO_LARGE : ERR_OK;
        }
        if (c->digits == 0 || (b != ';' && b != '\r'))
            return broken(ret_why);
        c->state = b == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
        return ERR_OK;
    }
    case CHUNK_EXTENSION:
        if (b == '\r')
            c->state = CHUNK_SIZE_LF;
        else if ((b < 0x20 && b != '\t') || b == 0x7f || ++c->skipped > CHUNK_SKIPPED_MAX)
            return broken(ret_why);
        return ERR_OK;
    case CHUNK_SIZE_LF:
        c->state = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
        c->digits = 0;
        return b == '\n' ? ERR_OK : broken(ret_why);
    case CHUNK_DATA_CR:
        c->state = CHUNK_DATA_LF;
        return b == '\r' ? ERR_OK : broken(ret_why);
    case CHUNK_DATA_LF:
        c->state = CHUNK_SIZE;
        return b == '\n' ? ERR_OK : broken(ret_why);
    case CHUNK_TRAILER:
        if (b == '\r')
            c->state = CHUNK_TRAILER_LF;
        else if ((b < 0x20 && b != '\t') || b == 0x7f || ++c->skipped > CHUNK_SKIPPED_MAX)
            return broken(ret_why);
        else
            c->quoted_line = true;
        return ERR_OK;
    case CHUNK_TRAILER_LF:
        if (b != '\n')
            return broken(ret_why);
        if (!c->quoted_line)
            *ret_status = HTTP_CHUNKED_DONE;
        c->quoted_line = false;
        c->state = CHUNK_TRAILER;
        return ERR_OK;
    case CHUNK_DATA:
        break;
    }
    PRE(c->state != CHUNK_DATA);
    return ERR_INTERNAL;
}

enum err http_chunked_feed(struct http_chunked *c, struct str *in, struct strbuf *body, size_t max_body,
                           int *ret_status, const char **ret_why)
{
    *ret_status = HTTP_CHUNKED_MORE;
    while (in->len > 0 && *ret_status == HTTP_CHUNKED_MORE) {
        if (c->state == CHUNK_DATA) {
            size_t n = c->left < in->len ? (size_t)c->left : in->len;
            strbuf_add(body, (struct str){in->ptr, n});
            if (strbuf_failed(body))
                return ERR_NO_MEMORY;
            in->ptr += n;
            in->len -= n;
            c->left -= n;
            if (c->left == 0)
                c->state = CHUNK_DATA_CR;
            continue;
        }
        enum err err = chunk_byte(c, (unsigned char)*in->ptr, body->len, max_body, ret_status, ret_why);
        if (err)
            return err;
        in->ptr++;
        in->len--;
    }
    return ERR_OK;
}

/* ---- what handlers ask ---- */

struct str http_header(const struct http_req *req, const char *name)
{
    for (size_t i = 0; i < req->header_count; i++)
        if (eq_nocase(req->headers[i].name, name))
            return req->headers[i].value;
    return STR_NONE;
}

size_t http_header_count(const struct http_req *req, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < req->header_count; i++)
        n += eq_nocase(req->headers[i].name, name);
    return n;
}

/* Cuts the next `name=value` off the query, both as sent. */
static bool query_next(struct str *rest, struct str *ret_name, struct str *ret_value)
{
    while (rest->len > 0) {
        struct str pair;
        if (!cut(rest, '&', &pair)) {
            pair = *rest;
            rest->len = 0;
        }
        if (pair.len == 0)
            continue;
        *ret_name = pair;
        *ret_value = STR("");
        if (cut(&pair, '=', ret_name))
            *ret_value = pair;
        return true;
    }
    return false;
}

/* Whether an encoded name says that. Uses no memory of the request: a query may hold thousands of names. */
static bool query_name_is(struct str encoded, const char *name)
{
    char decoded[256];
    size_t len;
    return encoded.len < sizeof decoded && percent_decode(encoded, true, decoded, &len) &&
           str_eqz((struct str){decoded, len}, name);
}

static bool query_decode(struct http_req *req, struct str encoded, struct str *ret_text)
{
    size_t len = 0;
    char *text = arena_alloc(&req->arena, encoded.len + 1);
    if (!text || !percent_decode(encoded, true, text, &len))
        return false;
    *ret_text = (struct str){text, len};
    return true;
}

bool http_query(struct http_req *req, const char *name, size_t index, struct str *ret_value)
{
    struct str rest = req->query, n, v;
    while (query_next(&rest, &n, &v)) {
        if (query_name_is(n, name) && index-- == 0)
            return query_decode(req, v, ret_value);
    }
    return false;
}

bool http_query_name(struct http_req *req, size_t i, struct str *ret_name)
{
    if (i < req->query_index || req->query_at > req->query.len) /* a stream's query is gone */
        req->query_index = req->query_at = 0;
    struct str rest = req->query, n, v;
    if (req->query_at > 0)
        rest = (struct str){rest.ptr + req->query_at, rest.len - req->query_at};
    while (query_next(&rest, &n, &v)) {
        req->query_at = req->query.len - rest.len;
        if (req->query_index++ < i)
            continue;
        struct str value;
        if (!query_decode(req, n, ret_name) || !query_decode(req, v, &value))
            *ret_name = STR("%"); /* no parameter is called so: it is refused as unknown */
        return true;
    }
    return false;
}
