/* Redaction. The input is a recipe: its head chooses secrets, the rest is text, in which some bytes stand for a secret in one of its spellings. No secret comes out, whatever stands around it; what comes out
 * does not depend on the cuts, and is the same when it is redacted again; JSON stays JSON. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/redact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SECRETS = 3, OUT_MAX = 16 << 20 };

struct recipe {
    struct redact_secret secrets[SECRETS];
    char values[SECRETS][64];
    size_t n;
    struct strbuf text;
};

static void hex(struct strbuf *out, struct str v, const char *before, bool upper)
{
    for (size_t i = 0; i < v.len; i++)
        strbuf_addf(out, upper ? "%s%02X" : "%s%02x", before, (unsigned)(unsigned char)v.ptr[i]);
}

static void base64(struct strbuf *out, struct str v, uint8_t how)
{
    unsigned char plain[80];
    char b64[200];
    size_t before = how % 3, behind = (how >> 2) % 3;
    memset(plain, 'k', sizeof plain);
    memcpy(plain + before, v.ptr, v.len);
    sodium_bin2base64(b64, sizeof b64, plain, before + v.len + behind,
                      how & 16 ? sodium_base64_VARIANT_URLSAFE : sodium_base64_VARIANT_ORIGINAL);
    strbuf_addz(out, b64);
}

static void spell(struct strbuf *out, struct str v, uint8_t how)
{
    struct strbuf quoted;
    switch (how % 8) {
    case 0:
    case 1:
        strbuf_add(out, v);
        break;
    case 2:
    case 3:
        base64(out, v, how >> 3);
        break;
    case 4:
        hex(out, v, how & 8 ? "%" : "", how & 16);
        break;
    case 5:
        strbuf_init(&quoted, 4096);
        json_quote(&quoted, v);
        strbuf_add(out, (struct str){quoted.ptr + 1, quoted.len - 2});
        strbuf_done(&quoted);
        break;
    case 6: /* only its beginning */
        strbuf_add(out, (struct str){v.ptr, v.len / 2});
        break;
    default: /* only its end */
        strbuf_add(out, (struct str){v.ptr + v.len / 2, v.len - v.len / 2});
    }
}

static const char *const words[] = {"password=",
                                    "token: ",
                                    "Bearer ",
                                    "\"secret\":\"",
                                    "gh"
                                    "p_",
                                    "-----BEGIN "
                                    "PRIVATE KEY-----",
                                    "-----END "
                                    "PRIVATE KEY-----",
                                    "https://u:",
                                    "@h/",
                                    "eyJ",
                                    "[SECRET:",
                                    "[REDACTED:",
                                    "]",
                                    "Cookie: a=",
                                    "\\\"",
                                    "sk"
                                    "-",
                                    "AAAAAAAABBBBBBBB1",
                                    "api_key = '",
                                    "{\"a\":",
                                    "\n"};

/* Bytes 0xf8 and up: a secret; 0xc0 to 0xdf: a word; the byte behind says how. */
static void cook(struct recipe *r, const uint8_t *data, size_t size)
{
    static const char *const names[SECRETS] = {"A", "API_TOKEN", "C"};
    size_t at = 1;
    r->n = data[0] % (SECRETS + 1);
    for (size_t i = 0; i < r->n && at < size; i++) {
        size_t len = data[at++] % 24;
        len = len < size - at ? len : size - at;
        memcpy(r->values[i], data + at, len);
        r->secrets[i] = (struct redact_secret){str_of(names[i]), {r->values[i], len}};
        at += len;
    }
    strbuf_init(&r->text, 1 << 20);
    for (; at < size; at++) {
        uint8_t b = data[at];
        if (b >= 0xf8 && r->n > 0 && at + 1 < size)
            spell(&r->text, r->secrets[b % r->n].value, data[++at]);
        else if (b >= 0xc0 && b < 0xe0)
            strbuf_addz(&r->text, words[b % ARRAY_LEN(words)]);
        else
            strbuf_addc(&r->text, (char)b);
    }
}

static struct str trimmed(struct str v)
{
    while (v.len > 0 && strchr(" \t\r\n", v.ptr[0]) && v.ptr[0])
        v.ptr++, v.len--;
    while (v.len > 0 && strchr(" \t\r\n", v.ptr[v.len - 1]) && v.ptr[v.len - 1])
        v.len--;
    return v;
}

/* A value of six bytes and more is nowhere, in no spelling. */
static void nowhere(const struct recipe *r, struct str out)
{
    for (size_t i = 0; i < r->n; i++) {
        struct str v = trimmed(r->secrets[i].value);
        struct strbuf s;
        if (v.len < 6)
            continue;
        POST(!memmem(out.ptr, out.len, v.ptr, v.len));
        for (unsigned how = 0; how < 8; how++) {
            strbuf_init(&s, 4096);
            if (how < 4)
                hex(&s, v, how & 1 ? "%" : "", how & 2);
            else
                base64(&s, v, how & 1 ? 16 : 0);
            size_t len = s.len;
            while (how >= 4 && len > 0 && s.ptr[len - 1] == '=')
                len--;
            POST(!memmem(out.ptr, out.len, s.ptr, len));
            strbuf_done(&s);
        }
        strbuf_init(&s, 4096);
        json_quote(&s, v);
        struct strbuf plain; /* where the value is no UTF-8 JSON shows something else */
        strbuf_init(&plain, 4096);
        utf8_sanitize(&plain, v);
        if (str_eq(strbuf_str(&plain), v))
            POST(!memmem(out.ptr, out.len, s.ptr + 1, s.len - 2));
        strbuf_done(&plain);
        strbuf_done(&s);
    }
}

static struct strbuf text_of(struct redactor *r, struct str in)
{
    struct strbuf out;
    strbuf_init(&out, OUT_MAX);
    redact_text(r, in, &out);
    POST(!strbuf_failed(&out));
    return out;
}

static void check_text(struct redactor *r, const struct recipe *p)
{
    struct str in = strbuf_str(&p->text);
    struct strbuf whole = text_of(r, in), again = text_of(r, strbuf_str(&whole)), cut;
    nowhere(p, strbuf_str(&whole));
    nowhere(p, strbuf_str(&again));
    if (redact_text_clean(r, in))
        POST(str_eq(strbuf_str(&whole), in));
    struct redact_stream *s;
    PRE(redact_stream_new(r, &s) == ERR_OK);
    strbuf_init(&cut, OUT_MAX);
    for (size_t step = 1; step < 40; step = step * 3 + 1) {
        strbuf_reset(&cut);
        for (size_t at = 0; at < in.len; at += step)
            redact_stream_feed(s, (struct str){in.ptr + at, in.len - at < step ? in.len - at : step}, &cut);
        redact_stream_end(s, &cut);
        POST(str_eq(strbuf_str(&whole), strbuf_str(&cut)));
    }
    redact_stream_free(s);
    strbuf_done(&whole);
    strbuf_done(&again);
    strbuf_done(&cut);
}

/* The text as it is where it is JSON, and else in a string of JSON, under a key that it may say itself. */
static void check_json(struct redactor *r, const struct recipe *p)
{
    struct strbuf in, out, again;
    struct str text = strbuf_str(&p->text);
    strbuf_init(&in, OUT_MAX);
    strbuf_init(&out, OUT_MAX);
    strbuf_init(&again, OUT_MAX);
    if (json_valid(text, 128)) {
        strbuf_add(&in, text);
    } else {
        strbuf_addz(&in, "{ \"n\":[1.50],");
        json_quote(&in, (struct str){text.ptr, text.len < 12 ? text.len : 12});
        strbuf_addz(&in, " :");
        json_quote(&in, text);
        strbuf_addz(&in, "}");
    }
    redact_json(r, strbuf_str(&in), &out);
    POST(!strbuf_failed(&out) && json_valid(strbuf_str(&out), 200));
    POST(in.ptr[0] != '{' || out.ptr[0] == '{');
    if (redact_json_clean(r, strbuf_str(&in)))
        POST(str_eq(strbuf_str(&out), strbuf_str(&in)));
    nowhere(p, strbuf_str(&out));
    redact_json(r, strbuf_str(&out), &again);
    nowhere(p, strbuf_str(&again));
    strbuf_done(&in);
    strbuf_done(&out);
    strbuf_done(&again);
}

/* Shapes alone: what was redacted stays as it is. (Where a secret was taken out of the midst of a word or a quoted value, what is left may promise a secret that it did not promise before: then a second pass
 * takes more.) */
static void check_twice(const struct recipe *p)
{
    struct redactor *r;
    struct strbuf quoted, out, again;
    PRE(redactor_new(NULL, 0, &r) == ERR_OK);
    strbuf_init(&quoted, OUT_MAX);
    strbuf_init(&out, OUT_MAX);
    strbuf_init(&again, OUT_MAX);
    struct strbuf one = text_of(r, strbuf_str(&p->text)), two = text_of(r, strbuf_str(&one));
    POST(str_eq(strbuf_str(&one), strbuf_str(&two)));
    strbuf_addz(&quoted, "{\"api_key\":");
    json_quote(&quoted, strbuf_str(&p->text));
    strbuf_addz(&quoted, ",");
    json_quote(&quoted, strbuf_str(&p->text));
    strbuf_addz(&quoted, ":[1]}");
    redact_json(r, strbuf_str(&quoted), &out);
    redact_json(r, strbuf_str(&out), &again);
    POST(str_eq(strbuf_str(&out), strbuf_str(&again)));
    strbuf_done(&quoted);
    strbuf_done(&out);
    strbuf_done(&again);
    strbuf_done(&one);
    strbuf_done(&two);
    redactor_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recipe p = {0};
    struct redactor *r;
    if (size < 2 || size > 4096)
        return 0;
    cook(&p, data, size);
    PRE(redactor_new(p.secrets, p.n, &r) == ERR_OK);
    check_text(r, &p);
    check_json(r, &p);
    check_twice(&p);
    POST(redactor_undecided(r) == 0);
    redactor_free(r);
    strbuf_done(&p.text);
    return 0;
}
