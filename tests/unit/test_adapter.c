/* What agents print to events: both protocols, at every cut, with what is no event, with claims and with the bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/adapter.h"

#define FFFD        "\xef\xbf\xbd"
#define NOTE(text)  "notification {\"stream\":\"stdout\",\"text\":\"" text "\"}\n"
#define LINE(k, d)  "{\"kind\":\"" k "\",\"data\":" d "}\n"
#define EVENT(k, d) k " " d "\n"
#define CLAIM(d)    LINE("runtime_terminal", d)

/* Everything an output gave. */
struct outcome {
    struct strbuf events; /* "kind data\n" each */
    size_t count, longest;
    bool invalid; /* an event that is none */
    bool claimed, claimed_error, claimed_too_long, truncated;
    struct strbuf result, message, text;
};

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    struct outcome *o = ctx;
    o->count++;
    if (data.len > o->longest)
        o->longest = data.len;
    o->invalid = o->invalid || data.len < 2 || data.ptr[0] != '{' || !json_valid(data, LIMIT_JSON_DEPTH);
    strbuf_addf(&o->events, "%s ", event_kind_name(kind));
    strbuf_add(&o->events, data);
    strbuf_addc(&o->events, '\n');
}

/* Feeds bytes: the first `head` of them, then `step` at a time, each in a block of just its size. */
static void run(struct outcome *o, const char *protocol, struct str bytes, size_t head, size_t step)
{
    struct adapter a;
    *o = (struct outcome){.count = 0};
    strbuf_init(&o->events, 64U << 20);
    strbuf_init(&o->result, 64U << 20);
    strbuf_init(&o->message, 64U << 20);
    strbuf_init(&o->text, 64U << 20);
    adapter_init(&a, str_of(protocol), on_event, o);
    for (size_t at = 0; at < bytes.len;) {
        size_t n = at == 0 && head > 0 ? head : step;
        n = n < bytes.len - at ? n : bytes.len - at;
        char *block = malloc(n);
        assert_non_null(block);
        memcpy(block, bytes.ptr + at, n);
        adapter_feed(&a, (struct str){block, n});
        free(block);
        at += n;
    }
    adapter_end(&a);
    o->claimed = a.claim.made;
    o->claimed_error = a.claim.error;
    o->claimed_too_long = a.claim.too_long;
    o->truncated = a.result_truncated;
    strbuf_add(&o->result, strbuf_str(&a.claim.result));
    strbuf_add(&o->message, strbuf_str(&a.claim.message));
    strbuf_add(&o->text, strbuf_str(&a.result_text));
    adapter_done(&a);
    assert_false(o->invalid || strbuf_failed(&o->events));
    assert_true(o->longest + 128 <= LIMIT_EVENT); /* with seq, tMs and kind it fits */
}

static void done(struct outcome *o)
{
    strbuf_done(&o->events);
    strbuf_done(&o->result);
    strbuf_done(&o->message);
    strbuf_done(&o->text);
}

/* ---- events ---- */

static const struct {
    const char *name;
    struct str bytes;
    const char *events;
} cases[] = {
    {"nothing", STR(""), ""},
    {"empty lines", STR("\n\n\r\n"), ""},
    {"an event", STR(LINE("assistant_text", "{\"text\":\"a\"}")), EVENT("assistant_text", "{\"text\":\"a\"}")},
    {"an event without a newline behind it", STR("{\"kind\":\"tool_request\",\"data\":{}}"),
     EVENT("tool_request", "{}")},
    {"every kind an agent may send",
     STR(LINE("assistant_text", "{}") LINE("tool_request", "{}") LINE("tool_response", "{}") LINE("skill_loaded", "{}")
             LINE("file_uploaded", "{}") LINE("notification", "{}") LINE("stream_error", "{}")),
     EVENT("assistant_text", "{}") EVENT("tool_request", "{}") EVENT("tool_response", "{}") EVENT("skill_loaded", "{}")
         EVENT("file_uploaded", "{}") EVENT("notification", "{}") EVENT("stream_error", "{}")},
    {"CR LF", STR("{\"kind\":\"tool_request\",\"data\":{}}\r\nplain\r\n"), EVENT("tool_request", "{}") NOTE("plain")},
    {"white space and other fields go, order and spelling stay",
     STR("{ \"x\":1, \"data\" : { \"b\": 1.50, \"a\" : \"\\u00fc\" }, \"seq\":9, \"kind\":\"tool_request\"}\n"),
     EVENT("tool_request", "{\"b\":1.50,\"a\":\"\\u00fc\"}")},
    {"characters of several bytes", STR(LINE("assistant_text", "{\"t\":\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\"}")),
     EVENT("assistant_text", "{\"t\":\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\"}")},
    /* what is no event is a notification, never an error */
    {"plain text", STR("hello \"you\"\n"), NOTE("hello \\\"you\\\"")},
    {"plain text of several bytes", STR("gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80\n"),
     NOTE("gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80")},
    {"invalid UTF-8", STR("a\xff\xe2\x82z\n"), NOTE("a" FFFD FFFD FFFD "z")},
    {"a character cut off by the end", STR("a\xf0\x9f"), NOTE("a" FFFD FFFD)},
    {"control characters", STR("\x1b[1m\0\n"), NOTE("\\u001b[1m\\u0000")},
    {"broken JSON", STR("{\"kind\":\n"), NOTE("{\\\"kind\\\":")},
    {"an array", STR("[1]\n"), NOTE("[1]")},
    {"no kind", STR("{\"data\":{}}\n"), NOTE("{\\\"data\\\":{}}")},
    {"an unknown kind", STR(LINE("x", "{}")), NOTE("{\\\"kind\\\":\\\"x\\\",\\\"data\\\":{}}")},
    {"kind as a number", STR("{\"kind\":1,\"data\":{}}\n"), NOTE("{\\\"kind\\\":1,\\\"data\\\":{}}")},
    {"no data", STR("{\"kind\":\"tool_request\"}\n"), NOTE("{\\\"kind\\\":\\\"tool_request\\\"}")},
    {"data an array", STR(LINE("tool_request", "[]")), NOTE("{\\\"kind\\\":\\\"tool_request\\\",\\\"data\\\":[]}")},
    {"runtime_started is the runner's", STR(LINE("runtime_started", "{}")),
     NOTE("{\\\"kind\\\":\\\"runtime_started\\\",\\\"data\\\":{}}")},
    {"a lone surrogate", STR(LINE("tool_request", "{\"a\":\"\\ud800\"}")),
     NOTE("{\\\"kind\\\":\\\"tool_request\\\",\\\"data\\\":{\\\"a\\\":\\\"\\\\ud800\\\"}}")},
    /* the agent's word on its end is no event */
    {"a claim", STR(CLAIM("{\"status\":\"success\"}")), ""},
    {"behind a claim all goes on", STR(CLAIM("{\"status\":\"success\"}") "late\n" LINE("tool_request", "{}")),
     NOTE("late") EVENT("tool_request", "{}")},
    {"a second claim is a line", STR(CLAIM("{}") CLAIM("{}")),
     NOTE("{\\\"kind\\\":\\\"runtime_terminal\\\",\\\"data\\\":{}}")},
    {"a claim whose data is no object is a line", STR(CLAIM("7")),
     NOTE("{\\\"kind\\\":\\\"runtime_terminal\\\",\\\"data\\\":7}")},
};

static void test_every_split_of_every_case_gives_the_same_events(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t head = 0; head <= cases[i].bytes.len; head++) {
            /* head 0: byte for byte; else two pieces, cut behind head bytes */
            struct outcome o;
            run(&o, "events", cases[i].bytes, head, head ? cases[i].bytes.len : 1);
            if (!str_eqz(strbuf_str(&o.events), cases[i].events))
                fail_msg("%s, cut at %zu: %s instead of %s", cases[i].name, head, strbuf_str(&o.events).ptr,
                         cases[i].events);
            done(&o);
        }
}

/* ---- claims ---- */

static void test_the_first_claim_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *bytes;
        bool made, error;
        const char *result, *message;
    } claims[] = {
        {"none", "text\n", false, false, "", ""},
        {"success", CLAIM("{\"status\":\"success\"}"), true, false, "", ""},
        {"a result", CLAIM("{\"status\":\"success\",\"result\": { \"a\" : 1.0 } }"), true, false, "{\"a\":1.0}", ""},
        {"a result of null", CLAIM("{\"status\":\"success\",\"result\":null}"), true, false, "null", ""},
        {"an error", CLAIM("{\"status\":\"error\"}"), true, true, "", ""},
        {"an error with a message",
         CLAIM("{\"status\":\"error\",\"error\":{\"class\":\"x\",\"message\":\"no \\\"luck\\\"\"}}"), true, true, "",
         "no \"luck\""},
        {"an error that is a string", CLAIM("{\"status\":\"error\",\"error\":\"why\"}"), true, true, "", "why"},
        {"success, then an error",
         CLAIM("{\"status\":\"success\",\"result\":1}") CLAIM("{\"status\":\"error\",\"result\":2,\"error\":\"x\"}"),
         true, false, "1", ""},
        {"an error, then success",
         CLAIM("{\"status\":\"error\",\"error\":\"x\"}") CLAIM("{\"status\":\"success\",\"result\":2}"), true, true, "",
         "x"},
        {"a line that is none, then a claim", CLAIM("[]") CLAIM("{\"status\":\"success\",\"result\":2}"), true, false,
         "2", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(claims); i++)
        for (size_t step = 1; step < 120; step += 17) {
            struct outcome o;
            run(&o, "events", str_of(claims[i].bytes), 0, step);
            if (o.claimed != claims[i].made || o.claimed_error != claims[i].error ||
                !str_eqz(strbuf_str(&o.result), claims[i].result) ||
                !str_eqz(strbuf_str(&o.message), claims[i].message))
                fail_msg("%s: %d %d %s %s", claims[i].name, o.claimed, o.claimed_error, strbuf_str(&o.result).ptr,
                         strbuf_str(&o.message).ptr);
            done(&o);
        }
}

/* ---- long lines ---- */

/* The texts of all notifications, joined; how many say that they are partial. */
static size_t join_pieces(struct outcome *o, struct arena *a, struct strbuf *ret_text)
{
    struct str rest = strbuf_str(&o->events);
    size_t partial = 0;
    strbuf_init(ret_text, 64U << 20);
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        size_t name = strlen("notification ");
        struct json *root = NULL;
        assert_true(newline && str_starts(rest, STR("notification ")));
        struct str data = {rest.ptr + name, (size_t)(newline - rest.ptr) - name};
        assert_int_equal(json_parse(a, data, 2, 2, &root, NULL), ERR_OK);
        assert_true(str_eqz(json_get(root, "stream")->string, "stdout"));
        strbuf_add(ret_text, json_get(root, "text")->string);
        const struct json *p = json_get(root, "partial");
        partial += p && p->boolean;
        rest.ptr = newline + 1;
        rest.len -= name + data.len + 1;
    }
    return partial;
}

static void test_a_line_too_long_for_an_event_comes_in_partial_notifications(void **state)
{
    (void)state;
    /* what grows when it is escaped, what is several bytes long, and what begins like an event */
    static const char *const fills[] = {"x", "\x01", "\"", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const size_t lens[] = {LINE_PIECE_BYTES + 8, LINE_MAX_BYTES, LINE_MAX_BYTES + 8, 3 * LINE_MAX_BYTES};
    static const size_t steps[] = {8 << 20, 65536, 4093};
    for (size_t f = 0; f < ARRAY_LEN(fills); f++)
        for (size_t l = 0; l < ARRAY_LEN(lens); l++) {
            struct strbuf bytes, first;
            strbuf_init(&bytes, 8 << 20);
            strbuf_init(&first, 64U << 20);
            strbuf_addz(&bytes, "{");
            while (bytes.len + strlen(fills[f]) <= lens[l])
                strbuf_addz(&bytes, fills[f]);
            size_t len = bytes.len;
            strbuf_addc(&bytes, '\n');
            for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
                struct outcome o;
                struct strbuf text;
                struct arena a;
                arena_init(&a, 256U << 20);
                run(&o, "events", strbuf_str(&bytes), 0, steps[s]);
                size_t partial = join_pieces(&o, &a, &text);
                if (l == 0) /* longer than a piece, but an event holds it */
                    assert_true(o.count == 1 && partial == 0);
                else
                    assert_true(o.count > 1 && partial == o.count);
                assert_true(str_eq(strbuf_str(&text), (struct str){bytes.ptr, len}));
                if (s == 0)
                    strbuf_add(&first, strbuf_str(&o.events));
                assert_true(str_eq(strbuf_str(&first), strbuf_str(&o.events)));
                strbuf_done(&text);
                arena_done(&a);
                done(&o);
            }
            strbuf_done(&first);
            strbuf_done(&bytes);
        }
}

/* An event line whose data is `len` bytes long. */
static void build_event(struct strbuf *out, size_t len)
{
    strbuf_init(out, 8 << 20);
    strbuf_addz(out, "{\"kind\":\"tool_request\",\"data\":{\"a\":\"");
    for (size_t i = strlen("{\"a\":\"\"}"); i < len; i++)
        strbuf_addc(out, 'x');
    strbuf_addz(out, "\"}}\n");
}

static void test_an_event_at_the_bound_passes_and_one_byte_more_is_a_notification(void **state)
{
    (void)state;
    enum { LARGEST = LIMIT_EVENT - 128 };
    struct strbuf bytes;
    struct outcome o;
    build_event(&bytes, LARGEST);
    run(&o, "events", strbuf_str(&bytes), 0, 10000);
    assert_true(o.count == 1 && o.longest == LARGEST && str_starts(strbuf_str(&o.events), STR("tool_request ")));
    done(&o);
    strbuf_done(&bytes);
    build_event(&bytes, LARGEST + 1);
    run(&o, "events", strbuf_str(&bytes), 0, 10000);
    assert_true(o.count > 1 && str_starts(strbuf_str(&o.events), STR("notification ")));
    assert_null(strstr(o.events.ptr, "tool_request {"));
    done(&o);
    strbuf_done(&bytes);
}

static void test_data_as_deep_as_a_batch_takes_it_passes(void **state)
{
    (void)state;
    /* the line is one level, data another; a batch has its envelope and its array around it */
    for (int levels = LIMIT_JSON_DEPTH - 4; levels <= LIMIT_JSON_DEPTH - 2; levels++) {
        struct strbuf bytes;
        struct outcome o;
        strbuf_init(&bytes, 4096);
        strbuf_addz(&bytes, "{\"kind\":\"tool_request\",\"data\":{\"a\":");
        for (int i = 0; i < levels - 1; i++)
            strbuf_addc(&bytes, '[');
        for (int i = 0; i < levels - 1; i++)
            strbuf_addc(&bytes, ']');
        strbuf_addz(&bytes, "}}\n");
        run(&o, "events", strbuf_str(&bytes), 0, 7);
        bool passes = levels <= LIMIT_JSON_DEPTH - 3;
        assert_true(str_starts(strbuf_str(&o.events), passes ? STR("tool_request") : STR("notification")));
        done(&o);
        strbuf_done(&bytes);
    }
}

static void test_standard_error_lines_name_their_stream(void **state)
{
    (void)state;
    struct outcome o = {.count = 0};
    strbuf_init(&o.events, 256);
    adapter_notify_line("stderr", STR("a\xff"), false, on_event, &o);
    adapter_notify_line("stderr", STR("x"), true, on_event, &o);
    assert_string_equal(o.events.ptr, "notification {\"stream\":\"stderr\",\"text\":\"a" FFFD "\"}\n"
                                      "notification {\"stream\":\"stderr\",\"text\":\"x\",\"partial\":true}\n");
    strbuf_done(&o.events);
}

/* A result may be longer than an event, so the line that claims it may be, too. */
/* Of what a claim holds only a few members are looked at: its result may have any number of parts. */
static void test_a_claim_of_many_small_parts(void **state)
{
    (void)state;
    static const char *const parts[] = {"0,", "{},", "[],"};
    for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
        struct outcome o;
        struct strbuf bytes;
        strbuf_init(&bytes, 8 << 20);
        strbuf_addz(&bytes,
                    "{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"error\",\"error\":{\"message\":\"boom\"},"
                    "\"result\":[");
        while (bytes.len < LIMIT_RESULT)
            strbuf_addz(&bytes, parts[p]);
        strbuf_addz(&bytes, "0]}}\n");
        run(&o, "events", strbuf_str(&bytes), 0, 65536);
        assert_true(o.claimed && o.claimed_error && !o.claimed_too_long && o.count == 0);
        assert_true(str_eqz(strbuf_str(&o.message), "boom"));
        done(&o);
        strbuf_done(&bytes);
    }
}

static void test_a_claim_longer_than_an_event(void **state)
{
    (void)state;
    static const size_t lens[] = {LIMIT_EVENT - 200, LIMIT_EVENT + 1, LIMIT_RESULT - 2, LIMIT_RESULT + LIMIT_EVENT};
    for (size_t l = 0; l < ARRAY_LEN(lens); l++)
        for (int error = 0; error < 2; error++) {
            struct outcome o;
            struct strbuf bytes;
            strbuf_init(&bytes, 8 << 20);
            strbuf_addf(&bytes, "{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"%s\",\"result\":\"",
                        error ? "error" : "success");
            for (size_t i = 0; i < lens[l]; i++)
                strbuf_addc(&bytes, 'x');
            strbuf_addz(&bytes, "\"}}\n");
            run(&o, "events", strbuf_str(&bytes), 0, 65536);
            bool taken = l < 3; /* beyond every bound its word is lost, but not that there was one */
            assert_true(o.claimed && o.claimed_too_long == !taken && o.claimed_error == (taken && error) &&
                        (o.count == 0) == taken);
            assert_int_equal(o.result.len, taken ? lens[l] + 2 : 0);
            done(&o);
            strbuf_done(&bytes);
        }
}

/* ---- text ---- */

/* Joins what the assistant_text events say, and checks that none ends or begins within a character. */
static void check_text(struct outcome *o, struct str wanted)
{
    struct arena a;
    struct strbuf text;
    struct str rest = strbuf_str(&o->events);
    arena_init(&a, 256U << 20);
    strbuf_init(&text, 64U << 20);
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        size_t name = strlen("assistant_text ");
        struct json *root = NULL;
        assert_true(newline && str_starts(rest, STR("assistant_text ")));
        struct str data = {rest.ptr + name, (size_t)(newline - rest.ptr) - name};
        assert_int_equal(json_parse(&a, data, 1, 1, &root, NULL), ERR_OK);
        assert_true(json_get(root, "text")->string.len > 0);
        strbuf_add(&text, json_get(root, "text")->string);
        rest.ptr = newline + 1;
        rest.len -= name + data.len + 1;
    }
    if (!str_eq(strbuf_str(&text), wanted))
        fail_msg("%s instead of %s", strbuf_str(&text).ptr, wanted.ptr);
    strbuf_done(&text);
    arena_done(&a);
}

static void test_text_is_the_same_at_every_split(void **state)
{
    (void)state;
    static const struct {
        struct str bytes, text;
    } texts[] = {
        {STR(""), STR("")},
        {STR("plain\ntext\r\n"), STR("plain\ntext\r\n")},
        {STR("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80!"),
         STR("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80!")},
        {STR("\xf0\x9f\x98\x80\xf0\x9f\x98\x80"), STR("\xf0\x9f\x98\x80\xf0\x9f\x98\x80")},
        {STR("a\xff\xe2\x82z\xc3"), STR("a" FFFD FFFD FFFD "z" FFFD)},
        {STR("\xf0\x9f\x98"), STR(FFFD FFFD FFFD)},
        {STR("{\"kind\":\"tool_request\",\"data\":{}}\n"), STR("{\"kind\":\"tool_request\",\"data\":{}}\n")},
        {STR("a\0b"), STR("a\0b")},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        for (size_t head = 0; head <= texts[i].bytes.len; head++) {
            struct outcome o;
            run(&o, "text", texts[i].bytes, head, head ? texts[i].bytes.len : 1);
            check_text(&o, texts[i].text);
            assert_true(str_eq(strbuf_str(&o.text), texts[i].text) && !o.truncated && !o.claimed);
            done(&o);
        }
}

static void test_text_is_shown_before_its_line_ends(void **state)
{
    (void)state;
    struct adapter a;
    struct outcome o = {.count = 0};
    strbuf_init(&o.events, 4096);
    adapter_init(&a, STR("text"), on_event, &o);
    adapter_feed(&a, STR("no newline"));
    assert_int_equal(o.count, 1);
    adapter_feed(&a, STR("\xe2\x82")); /* nothing whole yet */
    assert_int_equal(o.count, 1);
    adapter_feed(&a, STR("\xac"));
    assert_int_equal(o.count, 2);
    assert_string_equal(o.events.ptr,
                        "assistant_text {\"text\":\"no newline\"}\nassistant_text {\"text\":\"\xe2\x82\xac\"}\n");
    adapter_end(&a);
    assert_int_equal(o.count, 2);
    adapter_done(&a);
    done(&o);
}

static void fill(struct strbuf *out, size_t len, char c)
{
    strbuf_init(out, 8 << 20);
    char *room = strbuf_grow(out, len);
    assert_non_null(room);
    memset(room, c, len);
    out->len += len;
}

static void test_the_result_of_text_is_all_of_it_up_to_the_limit_or_nothing(void **state)
{
    (void)state;
    /* what is invalid is three bytes for each of its own: the limit is on what is stored */
    static const struct {
        size_t len;
        char c;
        bool truncated;
    } bounds[] = {{LIMIT_RESULT, 'x', false},    {LIMIT_RESULT + 1, 'x', true},    {2 * LIMIT_RESULT, 'x', true},
                  {LIMIT_RESULT / 3, -1, false}, {LIMIT_RESULT / 3 + 1, -1, true}, {LIMIT_RESULT, -1, true}};
    static const size_t steps[] = {8 << 20, 65536, 32768, 1000};
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
        for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
            struct strbuf bytes;
            struct outcome o;
            fill(&bytes, bounds[i].len, bounds[i].c);
            run(&o, "text", strbuf_str(&bytes), 0, steps[s]);
            if (o.truncated != bounds[i].truncated)
                fail_msg("%zu bytes, steps of %zu: %s", bounds[i].len, steps[s], o.truncated ? "truncated" : "whole");
            size_t wanted = bounds[i].truncated ? 0 : bounds[i].len * (bounds[i].c == 'x' ? 1 : 3);
            assert_int_equal(o.text.len, wanted);
            assert_true(o.count >= bounds[i].len / LINE_PIECE_BYTES); /* the events have all of it in any case */
            done(&o);
            strbuf_done(&bytes);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_split_of_every_case_gives_the_same_events),
        cmocka_unit_test(test_the_first_claim_counts),
        cmocka_unit_test(test_a_line_too_long_for_an_event_comes_in_partial_notifications),
        cmocka_unit_test(test_an_event_at_the_bound_passes_and_one_byte_more_is_a_notification),
        cmocka_unit_test(test_data_as_deep_as_a_batch_takes_it_passes),
        cmocka_unit_test(test_standard_error_lines_name_their_stream),
        cmocka_unit_test(test_a_claim_of_many_small_parts),
        cmocka_unit_test(test_a_claim_longer_than_an_event),
        cmocka_unit_test(test_text_is_the_same_at_every_split),
        cmocka_unit_test(test_text_is_shown_before_its_line_ends),
        cmocka_unit_test(test_the_result_of_text_is_all_of_it_up_to_the_limit_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
