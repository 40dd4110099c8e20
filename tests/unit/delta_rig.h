/* Lines of an agent, made from bytes, through redaction twice: by the quick way where it takes them, and by the plain one. What comes out is the same, line by line. Used by a unit test and a fuzz target. */
#ifndef ERRAND_TESTS_DELTA_RIG_H
#define ERRAND_TESTS_DELTA_RIG_H

#include <stdlib.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/redaction.h"

#define DELTA_TOKEN "ert_1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

/* What deltas are made of: pieces of secrets and of what looks like one, of other text, and of JSON. */
static const char *const delta_pieces[] = {
    "e",
    "er",
    "ert_1_01",
    "23456789abcdefghijkl",
    "mnopqrstuvwxyzABCDEFG",
    DELTA_TOKEN,
    "t",
    "to",
    "ken",
    "=",
    ": ",
    "pass",
    "word",
    "key ",
    "s",
    "k-",
    "ant-",
    "abcdefgh1234567890AB",
    "CDEFGHIJ",
    "-----",
    "BEGIN ",
    "PRIVATE ",
    "KEY",
    "-----END",
    "31",
    "337",
    " 31337 ",
    "a\"b c",
    "\\d",
    "\n",
    "\t",
    "\"",
    "\\",
    "\xc3\xa9",
    "\xc3",
    "\xa9",
    "\xe6\xbc\xa2",
    "[SECRET:",
    "T]",
    "the quick ",
    "brown fox",
    " and ",
    "6572745f",
    "ZXJ0X",
    "1",
    "0",
    "author",
    "Bearer ",
    "x",
    "https://",
    "u:",
    "pw@h/",
    "eyJhbGciOi",
    ".",
    "q",
    "zz",
    " 31337",
    "-----BEGIN "
    "PRIVATE KEY-----",
    "-----END "
    "PRIVATE KEY-----",
    "password=\"",
    "MIIabc",
    "This is a longer text, one in which nothing at all has to be looked at twice by anybody. ",
};

static const struct redact_secret delta_secrets[] = {
    {{"TOKEN", 5}, {DELTA_TOKEN, sizeof DELTA_TOKEN - 1}},
    {{"N", 1}, {"31337", 5}},
    {{"S", 1}, {"a\"b c\\d", 7}},
    {{"Q", 1}, {"xt\":\"the quick", 14}},
    {{"X", 1}, {"zz", 2}},
};

struct delta_feed {
    const uint8_t *at, *end;
};

static inline unsigned delta_byte(struct delta_feed *f)
{
    return f->at < f->end ? *f->at++ : 0;
}

static inline void delta_event(void *ctx, enum event_kind kind, struct str data)
{
    struct strbuf *out = ctx;
    strbuf_addz(out, event_kind_name(kind));
    strbuf_add(out, data);
    strbuf_addc(out, '\n');
}

/* As adapter.c does it. */
static inline void delta_plainly(struct redaction *r, struct str line, struct strbuf *out)
{
    struct arena arena;
    struct json *root = NULL;
    arena_init(&arena, 32 << 20);
    bool is_json = json_parse(&arena, line, LIMIT_JSON_DEPTH - 2, 1, &root, NULL) == ERR_OK;
    const struct json *kind = is_json ? json_get(root, "kind") : NULL, *data = is_json ? json_get(root, "data") : NULL;
    if (kind && data)
        redaction_event(r, event_kind_of(kind->string), data->raw, delta_event, out);
    arena_done(&arena);
}

static inline void delta_text(struct delta_feed *f, struct strbuf *out)
{
    for (unsigned n = delta_byte(f) % 6; n > 0; n--) {
        unsigned which = delta_byte(f);
        struct str piece = str_of(delta_pieces[which % ARRAY_LEN(delta_pieces)]);
        unsigned times = which == 255 ? 1 + delta_byte(f) % 64 : 1;
        if (which >= 192 && piece.len > 1)
            piece.len = 1 + delta_byte(f) % (piece.len - 1);
        while (times-- > 0)
            strbuf_add(out, piece);
    }
}

/* A line in one of the ways that agents write them. */
static inline void delta_line(struct delta_feed *f, struct strbuf *line, struct strbuf *text)
{
    unsigned how = delta_byte(f);
    static const char *const heads[] = {
        "{\"kind\":\"assistant_text\",\"data\":{\"text\":", "{\"kind\": \"assistant_text\", \"data\": {\"text\": ",
        "{\"kind\":\"assistant_text\",\"data\":{\"i\":1,\"text\":", "{\"kind\":\"tool_response\",\"data\":{\"text\":"};
    static const unsigned char often[] = {0, 0, 0, 0, 1, 1, 2, 3};
    strbuf_reset(text);
    strbuf_reset(line);
    delta_text(f, text);
    strbuf_addz(line, heads[often[how % 8]]);
    json_quote(line, strbuf_str(text));
    if ((how & 24) == 24)
        strbuf_addz(line, (how & 128) ? ", \"text\":\"s\",\"name\":\"t\"" : ",\"z\":[\"sk\"]");
    strbuf_addz(line, "}}");
    if ((how & 96) == 96)
        strbuf_addz(line, " ");
}

/* How many lines went the quick way; -1: what came out differs. */
static inline int delta_both_ways(const uint8_t *bytes, size_t size)
{
    struct delta_feed f = {bytes, bytes + size};
    struct redaction quick = {0}, plain = {0};
    struct strbuf line, text, a, b;
    size_t secrets = delta_byte(&f) % (ARRAY_LEN(delta_secrets) + 1);
    int taken = 0;
    if (redaction_init(&quick, delta_secrets, secrets) != ERR_OK ||
        redaction_init(&plain, delta_secrets, secrets) != ERR_OK)
        abort();
    strbuf_init(&line, 1 << 20);
    strbuf_init(&text, 1 << 20);
    strbuf_init(&a, 8 << 20);
    strbuf_init(&b, 8 << 20);
    while (f.at < f.end && taken >= 0) {
        delta_line(&f, &line, &text);
        struct str own = {malloc(line.len), line.len}; /* of its own size: what is read beyond it shows */
        memcpy((char *)(uintptr_t)own.ptr, line.ptr, line.len);
        if (redaction_quick(&quick, own, delta_event, &a))
            taken++;
        else
            delta_plainly(&quick, own, &a);
        delta_plainly(&plain, own, &b);
        free((char *)(uintptr_t)own.ptr);
        if (delta_byte(&f) % 8 == 0) {
            redaction_delta_pause(&quick, delta_event, &a);
            redaction_delta_pause(&plain, delta_event, &b);
        }
        if (!str_eq(strbuf_str(&a), strbuf_str(&b)) || redaction_holds(&quick) != redaction_holds(&plain))
            taken = -1;
    }
    redaction_end(&quick, delta_event, &a);
    redaction_end(&plain, delta_event, &b);
    if (!str_eq(strbuf_str(&a), strbuf_str(&b)) || a.failed || b.failed)
        taken = -1;
    redaction_done(&quick);
    redaction_done(&plain);
    strbuf_done(&line);
    strbuf_done(&text);
    strbuf_done(&a);
    strbuf_done(&b);
    return taken;
}

#endif
