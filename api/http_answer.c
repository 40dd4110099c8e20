#include "api/http_answer.h"

enum { FIXED_MAX = 512 }; /* the lines that every answer has, without the content type */

static struct str reason_of(int status)
{
    static const struct {
        int status;
        struct str reason;
    } rows[] = {
#define ROW(status, text)                                                                                              \
    {                                                                                                                  \
        status,                                                                                                        \
        {                                                                                                              \
            text, sizeof text - 1                                                                                      \
        }                                                                                                              \
    }
        ROW(200, "OK"),
        ROW(201, "Created"),
        ROW(202, "Accepted"),
        ROW(204, "No Content"),
        ROW(400, "Bad Request"),
        ROW(401, "Unauthorized"),
        ROW(403, "Forbidden"),
        ROW(404, "Not Found"),
        ROW(405, "Method Not Allowed"),
        ROW(408, "Request Timeout"),
        ROW(409, "Conflict"),
        ROW(411, "Length Required"),
        ROW(413, "Content Too Large"),
        ROW(414, "URI Too Long"),
        ROW(415, "Unsupported Media Type"),
        ROW(417, "Expectation Failed"),
        ROW(422, "Unprocessable Content"),
        ROW(429, "Too Many Requests"),
        ROW(431, "Request Header Fields Too Large"),
        ROW(500, "Internal Server Error"),
        ROW(501, "Not Implemented"),
        ROW(502, "Bad Gateway"),
        ROW(503, "Service Unavailable"),
        ROW(504, "Gateway Timeout"),
        ROW(505, "HTTP Version Not Supported"),
#undef ROW
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return STR("Status");
}

static char *put(char *at, struct str s)
{
    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    return at + s.len;
}

static char *put_number(char *at, int64_t n)
{
    return at + decimal(at, n);
}

static char *put_id(char *at, uint64_t id)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[id >> shift & 15];
    return at;
}

/* The head with its empty line. By hand: it is written for every request. */
static char *put_head(char *at, const struct http_req *req, const struct http_answer *a)
{
    at = put(at, STR("HTTP/1.1 "));
    at = put_number(at, a->status);
    at = put(at, STR(" "));
    at = put(at, reason_of(a->status));
    if (a->content_type) {
        at = put(at, STR("\r\nContent-Type: "));
        at = put(at, str_of(a->content_type));
    }
    if (a->length >= 0 && a->status != 204) {
        at = put(at, STR("\r\nContent-Length: "));
        at = put_number(at, a->length);
    }
    if (a->chunked)
        at = put(at, STR("\r\nTransfer-Encoding: chunked"));
    at = put(at, a->keep_alive ? STR("\r\nConnection: keep-alive\r\nX-Request-Id: ")
                               : STR("\r\nConnection: close\r\nX-Request-Id: "));
    at = put_id(at, req->id);
    at = put(at, STR("\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"));
    at = put(at, strbuf_str(&req->reply_headers));
    return put(at, STR("\r\n"));
}

struct http_buf *http_answer_buf(const struct http_req *req, const struct http_answer *a, struct str body)
{
    size_t type_len = a->content_type ? strlen(a->content_type) : 0;
    if (strbuf_failed(&req->reply_headers) || type_len > LIMIT_HEADERS)
        return NULL;
    struct http_buf *b = http_buf_new(FIXED_MAX + type_len + req->reply_headers.len + body.len);
    if (!b)
        return NULL;
    char *end = put(put_head(b->data, req, a), body);
    b->len = (uint32_t)(end - b->data);
    return b;
}
