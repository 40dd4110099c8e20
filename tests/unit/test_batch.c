/* Batches of events: every validation code in the contract's order, what is stored of good ones, and how they are cut to entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/batch.h"

#define RUN                    "00aa"
#define HEAD                   "{\"v\":1,\"runId\":\"" RUN "\",\"events\":["
#define E(s, t)                "{\"seq\":" #s ",\"tMs\":" #t ",\"kind\":\"notification\",\"data\":{}}"
#define ONE(e)                 HEAD e "]}"
#define TERMINAL(s)            "{\"seq\":" #s ",\"tMs\":5,\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"success\"}}"
#define EV(seq, t, kind, data) "{\"seq\":" seq ",\"tMs\":" t ",\"kind\":" kind ",\"data\":" data "}"
#define NOTE                   "\"notification\""

struct batch_case {
    const char *name;
    const char *body;
    enum err err;
    const char *detail; /* a part of it */
};

static const struct batch_case cases[] = {
    /* invalid_envelope */
    {"nothing", "", ERR_INVALID_ENVELOPE, ""},
    {"no JSON", "hello", ERR_INVALID_ENVELOPE, ""},
    {"cut short", HEAD E(1, 1), ERR_INVALID_ENVELOPE, ""},
    {"something behind it", ONE(E(1, 1)) "x", ERR_INVALID_ENVELOPE, ""},
    {"a byte order mark", "\xef\xbb\xbf" ONE(E(1, 1)), ERR_INVALID_ENVELOPE, ""},
    {"invalid UTF-8", ONE(EV("1", "1", NOTE, "{\"a\":\"\xff\"}")), ERR_INVALID_ENVELOPE, ""},
    {"a lone surrogate", ONE(EV("1", "1", NOTE, "{\"a\":\"\\ud800\"}")), ERR_INVALID_ENVELOPE, ""},
    {"a number beyond a double", ONE(EV("1", "1", NOTE, "{\"a\":1e999}")), ERR_INVALID_ENVELOPE, ""},
    {"a comma too many", ONE(E(1, 1) ","), ERR_INVALID_ENVELOPE, ""},
    {"an array", "[]", ERR_INVALID_ENVELOPE, "object"},
    {"null", "null", ERR_INVALID_ENVELOPE, "object"},
    {"a repeated key", "{\"v\":1,\"v\":1,\"runId\":\"" RUN "\",\"events\":[]}", ERR_INVALID_ENVELOPE, "repeats"},
    {"a repeated unknown key", "{\"x\":1,\"x\":1,\"v\":2}", ERR_INVALID_ENVELOPE, "repeats"},
    {"a key repeated in escapes", "{\"v\":1,\"\\u0076\":1}", ERR_INVALID_ENVELOPE, "repeats"},
    /* version_mismatch */
    {"no v", "{\"runId\":\"" RUN "\",\"events\":[" E(1, 1) "]}", ERR_VERSION_MISMATCH, "v "},
    {"v 2", "{\"v\":2,\"runId\":\"\",\"events\":[]}", ERR_VERSION_MISMATCH, "v "},
    {"v as a string", "{\"v\":\"1\",\"runId\":\"" RUN "\"}", ERR_VERSION_MISMATCH, "v "},
    {"v null", "{\"v\":null}", ERR_VERSION_MISMATCH, "v "},
    /* missing_run_id */
    {"no runId", "{\"v\":1,\"events\":[" E(1, 1) "]}", ERR_MISSING_RUN_ID, "runId"},
    {"an empty runId", "{\"v\":1,\"runId\":\"\",\"events\":[]}", ERR_MISSING_RUN_ID, "runId"},
    {"another runId", "{\"v\":1,\"runId\":\"00ab\",\"events\":[]}", ERR_MISSING_RUN_ID, "runId"},
    {"runId as a number", "{\"v\":1,\"runId\":7,\"events\":[]}", ERR_MISSING_RUN_ID, "runId"},
    /* empty_batch */
    {"no events", "{\"v\":1,\"runId\":\"" RUN "\"}", ERR_EMPTY_BATCH, "events"},
    {"an empty array", ONE(""), ERR_EMPTY_BATCH, "events"},
    {"events an object", "{\"v\":1,\"runId\":\"" RUN "\",\"events\":{\"a\":1}}", ERR_EMPTY_BATCH, "events"},
    {"events null", "{\"v\":1,\"runId\":\"" RUN "\",\"events\":null}", ERR_EMPTY_BATCH, "events"},
    /* invalid_event */
    {"no object", ONE("7"), ERR_INVALID_EVENT, "events[0] must be an object"},
    {"a string", ONE(E(1, 1) ",\"x\""), ERR_INVALID_EVENT, "events[1]"},
    {"it repeats a key", ONE("{\"seq\":1,\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":{}}"),
     ERR_INVALID_EVENT, "events[0] repeats"},
    {"no seq", ONE("{\"tMs\":1,\"kind\":\"notification\",\"data\":{}}"), ERR_INVALID_EVENT,
     "events[0].seq must be a non-negative integer"},
    {"seq as a string", ONE(EV("\"1\"", "1", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].seq"},
    {"a negative seq", ONE(EV("-1", "1", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].seq"},
    {"a fraction", ONE(EV("1.5", "1", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].seq"},
    {"seq above its range", ONE(EV("9007199254739969", "1", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].seq"},
    {"seq beyond 64 bits", ONE(EV("18446744073709551617", "1", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].seq"},
    {"seq true", ONE(EV("true", "1", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].seq"},
    {"no tMs", ONE("{\"seq\":1,\"kind\":\"notification\",\"data\":{}}"), ERR_INVALID_EVENT, "events[0].tMs"},
    {"a negative tMs", ONE(EV("1", "-5", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].tMs"},
    {"tMs above its range", ONE(EV("1", "9007199254740992", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].tMs"},
    {"no kind", ONE("{\"seq\":1,\"tMs\":1,\"data\":{}}"), ERR_INVALID_EVENT, "events[0].kind"},
    {"an unknown kind", ONE(EV("1", "1", "\"Notification\"", "{}")), ERR_INVALID_EVENT, "events[0].kind"},
    {"kind as a number", ONE(EV("1", "1", "7", "{}")), ERR_INVALID_EVENT, "events[0].kind"},
    {"no data", ONE("{\"seq\":1,\"tMs\":1,\"kind\":\"notification\"}"), ERR_INVALID_EVENT, "events[0].data"},
    {"data an array", ONE(EV("1", "1", NOTE, "[]")), ERR_INVALID_EVENT, "events[0].data"},
    {"data null", ONE(EV("1", "1", NOTE, "null")), ERR_INVALID_EVENT, "events[0].data"},
    {"something behind the terminal", ONE(TERMINAL(1) "," E(2, 6)), ERR_INVALID_EVENT, "events[1]"},
    {"two terminals", ONE(TERMINAL(1) "," TERMINAL(2)), ERR_INVALID_EVENT, "events[1]"},
    {"a terminal without a status", ONE(EV("1", "1", "\"runtime_terminal\"", "{}")), ERR_INVALID_EVENT,
     "events[0].data.status"},
    /* seq_not_monotonic, t_ms_not_monotonic */
    {"the same seq", ONE(E(1, 1) "," E(1, 1)), ERR_SEQ_NOT_MONOTONIC, "events[1].seq"},
    {"a lower seq", ONE(E(5, 1) "," E(6, 1) "," E(4, 1)), ERR_SEQ_NOT_MONOTONIC, "events[2].seq"},
    {"a lower tMs", ONE(E(1, 5) "," E(2, 4)), ERR_T_MS_NOT_MONOTONIC, "events[1].tMs"},
    /* the order: the first code of the table wins, of events the first bad one */
    {"version before run", "{\"v\":0,\"runId\":7,\"events\":7}", ERR_VERSION_MISMATCH, ""},
    {"run before events", "{\"v\":1,\"runId\":7,\"events\":[]}", ERR_MISSING_RUN_ID, ""},
    {"repeated key before version", "{\"v\":2,\"v\":2}", ERR_INVALID_ENVELOPE, ""},
    {"of events the first bad one",
     ONE(E(1, 1) "," E(1, 1) ","
                             "7"),
     ERR_SEQ_NOT_MONOTONIC, "events[1]"},
    {"its shape before its seq", ONE(E(2, 2) "," EV("1", "1", "\"x\"", "{}")), ERR_INVALID_EVENT, "events[1].kind"},
    {"seq before tMs", ONE(E(2, 2) "," E(1, 1)), ERR_SEQ_NOT_MONOTONIC, "events[1]"},
    {"seq before tMs in one event", ONE(EV("-1", "-1", NOTE, "{}")), ERR_INVALID_EVENT, "events[0].seq"},
    /* good ones */
    {"one", ONE(E(1, 1)), ERR_OK, NULL},
    {"zeros", ONE(E(0, 0)), ERR_OK, NULL},
    {"gaps and equal times", ONE(E(1, 5) "," E(7, 5) "," E(4294967296, 5)), ERR_OK, NULL},
    {"integers in other spellings", ONE(EV("1.0", "1e2", NOTE, "{}") "," EV("2e0", "100.0", NOTE, "{}")), ERR_OK, NULL},
    {"minus zero", ONE(EV("-0", "-0", NOTE, "{}")), ERR_OK, NULL},
    {"unknown fields are ignored",
     "{\"x\":[],\"v\":1,\"runId\":\"" RUN
     "\",\"events\":[{\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":{},\"y\":{}}]}",
     ERR_OK, NULL},
    {"v as 1.0", "{\"v\":1.0,\"runId\":\"" RUN "\",\"events\":[" E(1, 1) "]}", ERR_OK, NULL},
    {"keys repeated in data stay", ONE(EV("1", "1", NOTE, "{\"a\":1,\"a\":2}")), ERR_OK, NULL},
    {"the largest numbers", ONE(EV("9007199254739968", "9007199254740991", NOTE, "{}")), ERR_OK, NULL},
};

static enum err parse(struct arena *a, struct str body, bool ndjson, struct event_batch *b, const char **detail)
{
    char *copy = malloc(body.len ? body.len : 1);
    assert_non_null(copy);
    memcpy(copy, body.ptr, body.len);
    enum err err = batch_parse(a, (struct str){copy, body.len}, ndjson, STR(RUN), b, detail);
    free(copy); /* what is in the batch is the arena's */
    return err;
}

static void test_every_case_of_the_table(void **state)
{
    (void)state;
    static struct event_batch b;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a;
        const char *detail = NULL;
        arena_init(&a, 64 << 20);
        enum err err = parse(&a, str_of(cases[i].body), false, &b, &detail);
        if (err != cases[i].err)
            fail_msg("%s: %s (%s) instead of %s", cases[i].name, err_code(err), detail ? detail : "",
                     err_code(cases[i].err));
        if (err && !(detail && strstr(detail, cases[i].detail)))
            fail_msg("%s: says \"%s\"", cases[i].name, detail ? detail : "nothing");
        arena_done(&a);
    }
}

/* The body in an own form: {"v":1,"runId":…,"events":[n events with `size` bytes of text, from seq]}. */
static void build(struct strbuf *out, size_t n, size_t size, bool ndjson)
{
    strbuf_init(out, 256U << 20);
    if (!ndjson)
        strbuf_addz(out, HEAD);
    for (size_t i = 0; i < n; i++) {
        strbuf_addf(out, "%s{\"seq\":%zu,\"tMs\":7,\"kind\":\"assistant_text\",\"data\":{\"t\":\"",
                    i && !ndjson ? "," : "", i + 1);
        for (size_t k = 0; k < size; k++)
            strbuf_addc(out, 'x');
        strbuf_addz(out, "\"}}");
        if (ndjson)
            strbuf_addz(out, "\n");
    }
    if (!ndjson)
        strbuf_addz(out, "]}");
}

static enum err parse_built(struct arena *a, size_t n, size_t size, bool ndjson, struct event_batch *b)
{
    struct strbuf body;
    const char *detail;
    build(&body, n, size, ndjson);
    arena_init(a, 64 << 20);
    enum err err = parse(a, strbuf_str(&body), ndjson, b, &detail);
    strbuf_done(&body);
    return err;
}

static void test_at_most_256_events(void **state)
{
    (void)state;
    static struct event_batch b;
    struct arena a;
    for (int ndjson = 0; ndjson < 2; ndjson++) {
        assert_int_equal(parse_built(&a, LIMIT_BATCH_EVENTS, 3, ndjson, &b), ERR_OK);
        assert_int_equal(b.count, LIMIT_BATCH_EVENTS);
        assert_true(b.first == 1 && b.last == LIMIT_BATCH_EVENTS && b.first_t == 7 && b.last_t == 7);
        arena_done(&a);
        assert_int_equal(parse_built(&a, LIMIT_BATCH_EVENTS + 1, 3, ndjson, &b), ERR_BATCH_TOO_LARGE);
        arena_done(&a);
    }
}

static void test_an_event_of_256_kib(void **state)
{
    (void)state;
    static struct event_batch b;
    struct arena a;
    size_t around = strlen("{\"seq\":1,\"tMs\":7,\"kind\":\"assistant_text\",\"data\":{\"t\":\"\"}}");
    assert_int_equal(parse_built(&a, 1, LIMIT_EVENT - around, false, &b), ERR_OK);
    assert_int_equal(b.entries[0].lines.len, LIMIT_EVENT);
    arena_done(&a);
    assert_int_equal(parse_built(&a, 1, LIMIT_EVENT - around + 1, false, &b), ERR_EVENT_TOO_LARGE);
    arena_done(&a);
}

static void test_entries_hold_64_kib_or_one_event(void **state)
{
    (void)state;
    static struct event_batch b;
    struct arena a;
    static const size_t sizes[] = {1, 100, 5000, 30000, 70000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = 40, seen = 0;
        assert_int_equal(parse_built(&a, n, sizes[i], true, &b), ERR_OK);
        int64_t next = 1;
        for (size_t k = 0; k < b.entry_count; k++) {
            const struct batch_entry *e = &b.entries[k];
            assert_true(e->lines.len <= LIMIT_ENTRY || e->n == 1);
            assert_true(e->first == next && e->last == e->first + e->n - 1 && e->t == 7);
            size_t lines = 1;
            for (size_t at = 0; at < e->lines.len; at++)
                lines += e->lines.ptr[at] == '\n';
            assert_int_equal(lines, e->n);
            next = e->last + 1;
            seen += (size_t)e->n;
        }
        assert_int_equal(seen, n);
        arena_done(&a);
    }
}

static void test_what_is_stored(void **state)
{
    (void)state;
    static struct event_batch b;
    struct arena a;
    const char *detail;
    arena_init(&a, 1 << 20);
    assert_int_equal(
        parse(&a,
              STR("{\"events\" : [ { \"kind\":\"tool_request\" , \"tMs\": 1e2,\n \"data\" : { \"b\" : 1.50, \"a\": "
                  "\"\\u00fc \\/\", \"b\":[ ] }, \"seq\":3.0, \"extra\":1 } ], \"runId\":\"" RUN "\", \"v\":1}"),
              false, &b, &detail),
        ERR_OK);
    assert_true(str_eqz(
        b.entries[0].lines,
        "{\"seq\":3,\"tMs\":100,\"kind\":\"tool_request\",\"data\":{\"b\":1.50,\"a\":\"\\u00fc \\/\",\"b\":[]}}"));
    arena_done(&a);
}

/* Events that are written as they are stored are taken as they are: but only where that is all of them. */
static void test_what_is_stored_of_events_that_look_stored(void **state)
{
    (void)state;
    static const char line[] = "{\"seq\":1,\"tMs\":2,\"kind\":\"notification\",\"data\":{\"a\":\"}\\\"{\",\"b\":[{}]}}";
    static const struct {
        const char *sent, *stored;
    } rows[] = {
        {line, line},
        {"{\"seq\":1,\"tMs\":2,\"kind\":\"notification\",\"data\":{\"a\":\"}\\\"{\",\"b\":[{}]},\"x\":{}}", line},
        {"{\"seq\":1,\"tMs\":2,\"kind\":\"notification\",\"x\":0,\"data\":{\"a\":\"}\\\"{\",\"b\":[{}]}}", line},
        {"{\"seq\":1,\"tMs\":2,\"kind\":\"notif\\u0069cation\",\"data\":{\"a\":\"}\\\"{\",\"b\":[{}]}}", line},
        {"{\"seq\":1.0,\"tMs\":2e0,\"kind\":\"notification\",\"data\":{ \"a\" : \"}\\\"{\", \"b\":[ { } ]} }", line},
        {"{\"data\":{\"a\":\"}\\\"{\",\"b\":[{}]},\"kind\":\"notification\",\"tMs\":2,\"seq\":1}", line},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;
        const char *detail;
        struct event_batch *b = calloc(1, sizeof *b);
        assert_non_null(b);
        arena_init(&a, 1 << 20);
        assert_int_equal(batch_parse(&a, str_of(rows[i].sent), true, STR("r"), b, &detail), ERR_OK);
        assert_int_equal(b->entry_count, 1);
        assert_string_equal(b->entries[0].lines.ptr, rows[i].stored);
        assert_int_equal(b->last, 1);
        assert_int_equal(b->last_t, 2);
        arena_done(&a);
        free(b);
    }
}

static void test_a_claim_is_kept_apart(void **state)
{
    (void)state;
    static struct event_batch b;
    struct arena a;
    const char *detail;
    arena_init(&a, 1 << 20);
    assert_int_equal(parse(&a,
                           STR(ONE(E(1, 4) "," EV("9", "5", "\"runtime_terminal\"",
                                                  "{\"status\":\"success\",\"result\":{ \"a\": 1.0 }}"))),
                           false, &b, &detail),
                     ERR_OK);
    assert_true(b.count == 2 && b.last == 9 && b.entry_count == 1 && b.entries[0].last == 1 && b.claim_seq == 9 &&
                b.claim_t == 5);
    assert_true(str_eqz(b.claim_status, "success") && str_eqz(b.claim_result, "{\"a\":1.0}") && b.claim_error.len == 0);
    assert_int_equal(
        parse(&a,
              STR(ONE(EV("9", "5", "\"runtime_terminal\"",
                         "{\"status\":\"error\",\"error\":{\"class\":\"x\",\"message\":\"no \\\"luck\\\"\"}}"))),
              false, &b, &detail),
        ERR_OK);
    assert_true(b.entry_count == 0 &&
                str_eqz(b.claim_error, "{\"class\":\"agent_error\",\"message\":\"no \\\"luck\\\"\"}"));
    arena_done(&a);
}

static void test_lines(void **state)
{
    (void)state;
    static struct event_batch b;
    struct arena a;
    const char *detail;
    arena_init(&a, 1 << 20);
    assert_int_equal(parse(&a, STR("\n" E(1, 1) "\r\n\n  " E(2, 2) " \n"), true, &b, &detail), ERR_OK);
    assert_int_equal(b.count, 2);
    assert_int_equal(parse(&a, STR(E(1, 1) "\nnot JSON\n" E(1, 1)), true, &b, &detail), ERR_INVALID_EVENT);
    assert_non_null(strstr(detail, "events[1]"));
    assert_int_equal(parse(&a, STR(" \n\r\n"), true, &b, &detail), ERR_EMPTY_BATCH);
    assert_int_equal(parse(&a, STR(E(2, 1) "\n" E(1, 1)), true, &b, &detail), ERR_SEQ_NOT_MONOTONIC);
    arena_done(&a);
}

/* 128 levels counting the envelope's own object; in lines the same data passes and fails. */
static void test_depth(void **state)
{
    (void)state;
    static struct event_batch b;
    const char *detail;
    for (int levels = 124; levels <= 127; levels++) {
        for (int ndjson = 0; ndjson < 2; ndjson++) {
            struct strbuf body;
            struct arena a;
            arena_init(&a, 1 << 20);
            strbuf_init(&body, 1 << 20);
            strbuf_addf(&body, "%s{\"seq\":1,\"tMs\":1,\"kind\":\"notification\",\"data\":{\"a\":", ndjson ? "" : HEAD);
            for (int i = 0; i < levels - 1; i++) /* data itself is one */
                strbuf_addc(&body, '[');
            for (int i = 0; i < levels - 1; i++)
                strbuf_addc(&body, ']');
            strbuf_addf(&body, "}}%s", ndjson ? "" : "]}");
            enum err err = parse(&a, strbuf_str(&body), ndjson, &b, &detail);
            enum err wanted = levels <= 125 ? ERR_OK : ndjson ? ERR_INVALID_EVENT : ERR_INVALID_ENVELOPE;
            if (err != wanted)
                fail_msg("%d levels, ndjson %d: %s instead of %s", levels, ndjson, err_code(err), err_code(wanted));
            strbuf_done(&body);
            arena_done(&a);
        }
    }
}

/* What a request may use beyond its body (api/http_conn.c): a batch that keeps to the limits is never refused for its shape. */
static void test_events_of_many_members_fit_a_requests_memory(void **state)
{
    (void)state;
    enum { EVENTS = 16, REQUEST_MEMORY = 4 * LIMIT_BATCH_BODY + (8 << 20) };
    static struct event_batch b;
    for (int ndjson = 0; ndjson < 2; ndjson++) {
        struct strbuf body;
        struct arena a;
        const char *detail;
        strbuf_init(&body, LIMIT_BATCH_BODY);
        strbuf_addz(&body, ndjson ? "" : HEAD);
        for (int i = 0; i < EVENTS; i++) {
            bool last = i == EVENTS - 1; /* the claim, which is looked into */
            strbuf_addf(&body, "%s{\"seq\":%d,\"tMs\":1,\"kind\":\"%s\",\"data\":{\"status\":\"success\"",
                        i == 0   ? ""
                        : ndjson ? "\n"
                                 : ",",
                        i + 1, last ? "runtime_terminal" : "notification");
            for (int k = 0; k < 25000; k++)
                strbuf_addf(&body, ",\"%x\":0", (unsigned)k);
            strbuf_addz(&body, "}}");
        }
        strbuf_addz(&body, ndjson ? "" : "]}");
        assert_false(strbuf_failed(&body));
        arena_init(&a, REQUEST_MEMORY);
        assert_int_equal(parse(&a, strbuf_str(&body), ndjson, &b, &detail), ERR_OK);
        assert_true(b.count == EVENTS && str_eqz(b.claim_status, "success"));
        arena_done(&a);
        strbuf_done(&body);
    }
}

/* A run's error is a sentence, not a store: the message of a claim is cut between characters. */
static void test_a_long_error_message_of_a_claim_is_cut(void **state)
{
    (void)state;
    static struct event_batch b;
    struct strbuf body;
    struct arena a;
    struct json *error = NULL;
    const char *detail;
    strbuf_init(&body, LIMIT_BATCH_BODY);
    strbuf_addz(&body, HEAD "{\"seq\":1,\"tMs\":1,\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"error\","
                            "\"error\":{\"message\":\"x");
    for (int i = 0; i < 30000; i++)
        strbuf_addz(&body, i < LIMIT_ERROR_MESSAGE / 2 - 100
                               ? "\\b"
                               : "\303\244"); /* each longer than a byte, as sent or as written */
    strbuf_addz(&body, "\"}}}]}");
    arena_init(&a, 64 << 20);
    assert_int_equal(parse(&a, strbuf_str(&body), false, &b, &detail), ERR_OK);
    assert_int_equal(json_parse(&a, b.claim_error, 2, 2, &error, NULL), ERR_OK);
    struct str message = json_get(error, "message")->string;
    assert_in_range(message.len, LIMIT_ERROR_MESSAGE - 1, LIMIT_ERROR_MESSAGE);
    assert_int_equal(utf8_complete_len(message), message.len);
    arena_done(&a);
    strbuf_done(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_case_of_the_table),
        cmocka_unit_test(test_at_most_256_events),
        cmocka_unit_test(test_an_event_of_256_kib),
        cmocka_unit_test(test_entries_hold_64_kib_or_one_event),
        cmocka_unit_test(test_what_is_stored),
        cmocka_unit_test(test_what_is_stored_of_events_that_look_stored),
        cmocka_unit_test(test_a_claim_is_kept_apart),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_a_long_error_message_of_a_claim_is_cut),
        cmocka_unit_test(test_events_of_many_members_fit_a_requests_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
