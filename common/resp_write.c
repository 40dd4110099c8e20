#include "common/resp_write.h"

enum { AROUND = 1 + DECIMAL_MAX + 2 + 2 }; /* `$`, the length, CRLF; CRLF behind the word */

static char *put_header(char *at, char type, size_t n)
{
    *at++ = type;
    at += decimal(at, (int64_t)n);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

void resp_write_command(struct strbuf *out, size_t argc, const struct str *argv)
{
    size_t room = AROUND * (argc + 1);
    for (size_t i = 0; i < argc; i++)
        room += argv[i].len;
    char *begin = strbuf_grow(out, room);
    if (!begin)
        return;
    char *at = put_header(begin, '*', argc);
    for (size_t i = 0; i < argc; i++) {
        at = put_header(at, '$', argv[i].len);
        if (argv[i].len > 0)
            memcpy(at, argv[i].ptr, argv[i].len);
        at += argv[i].len;
        *at++ = '\r';
        *at++ = '\n';
    }
    *at = 0;
    out->len += (size_t)(at - begin);
}
