/* The runner's choke point: deltas that are split over events, lines, results and messages. */
#include "runner/redaction.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "delta_rig.h"

#define TOKEN "ert~_1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG" /* as a secret it need not look like one */

struct seen {
    struct strbuf text; /* texts of assistant_text, one after the other */
    struct strbuf all;  /* every event */
    int events;
};

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    struct seen *s = ctx;
    struct arena arena;
    struct json *root;
    assert_true(json_valid(data, LIMIT_JSON_DEPTH));
    assert_true(data.len <= LIMIT_EVENT);
    strbuf_addf(&s->all, "%s %.*s\n", event_kind_name(kind), STR_ARG(data));
    s->events++;
    arena_init(&arena, 32 << 20);
    assert_int_equal(json_parse(&arena, data, LIMIT_JSON_DEPTH, 1, &root, NULL), ERR_OK);
    const struct json *text = json_get(root, "text");
    if (kind == EVENT_ASSISTANT_TEXT && text)
        strbuf_add(&s->text, text->string);
    arena_done(&arena);
}

static void begin(struct seen *s, struct redaction *r)
{
    *s = (struct seen){0};
    *r = (struct redaction){0};
    strbuf_init(&s->text, 8 << 20);
    strbuf_init(&s->all, 8 << 20);
    assert_int_equal(redaction_init(r, &(struct redact_secret){STR("T"), STR(TOKEN)}, 1), ERR_OK);
}

static void end(struct seen *s, struct redaction *r)
{
    redaction_done(r);
    strbuf_done(&s->text);
    strbuf_done(&s->all);
}

static void say(struct redaction *r, struct seen *s, const char *text, size_t len)
{
    struct strbuf data;
    strbuf_init(&data, 1 << 20);
    strbuf_addz(&data, "{\"text\":");
    json_quote(&data, (struct str){text, len});
    strbuf_addz(&data, "}");
    redaction_event(r, EVENT_ASSISTANT_TEXT, strbuf_str(&data), on_event, s);
    strbuf_done(&data);
}

static void test_deltas_cut_everywhere(void **state)
{
    static const char whole[] = "before " TOKEN " after";
    (void)state;
    for (size_t cut = 0; cut <= sizeof whole - 1; cut++) {
        struct seen s;
        struct redaction r;
        begin(&s, &r);
        say(&r, &s, whole, cut);
        redaction_event(&r, EVENT_TOOL_REQUEST, STR("{\"n\":1.0}"), on_event,
                        &s); /* what stands between changes nothing */
        say(&r, &s, whole + cut, sizeof whole - 1 - cut);
        redaction_end(&r, on_event, &s);
        assert_string_equal(s.text.ptr, "before [SECRET:T] after");
        assert_non_null(strstr(s.all.ptr, "tool_request {\"n\":1.0}\n"));
        end(&s, &r);
    }
}

static void test_other_fields_of_a_delta_stay(void **state)
{
    struct seen s;
    struct redaction r;
    (void)state;
    begin(&s, &r);
    redaction_event(&r, EVENT_ASSISTANT_TEXT, STR("{\"i\":1.50,\"text\":\"plain \\u0021\",\"x\":\"\\/\"}"), on_event,
                    &s);
    redaction_event(&r, EVENT_ASSISTANT_TEXT, STR("{\"i\":2.50,\"text\":\"ert~_1_01234\",\"x\":\"\\/\"}"), on_event,
                    &s);
    redaction_event(&r, EVENT_ASSISTANT_TEXT, STR("{\"text\":7}"), on_event, &s);
    redaction_end(&r, on_event, &s);
    assert_string_equal(s.all.ptr, "assistant_text {\"i\":1.50,\"text\":\"plain \\u0021\",\"x\":\"\\/\"}\n"
                                   "assistant_text {\"i\":2.50,\"text\":\"\",\"x\":\"\\/\"}\n"
                                   "assistant_text {\"text\":7}\n"
                                   "assistant_text {\"text\":\"ert~_1_01234\"}\n");
    end(&s, &r);
}

static void test_plain_lines(void **state)
{
    struct seen s;
    struct redaction r;
    (void)state;
    begin(&s, &r);
    redaction_plain(&r, STR("a " TOKEN), false, on_event, &s);
    redaction_plain(&r,
                    STR("-----BEGIN "
                        "PRIV"
                        "ATE KEY-----"),
                    false, on_event, &s);
    redaction_plain(&r, STR("MIIabcdef"), false, on_event, &s);
    redaction_event(&r, EVENT_NOTIFICATION, STR("{\"between\":true}"), on_event, &s);
    redaction_plain(&r,
                    STR("-----END "
                        "PRIV"
                        "ATE KEY-----"),
                    false, on_event, &s);
    redaction_plain(&r, STR("after"), false, on_event, &s);
    redaction_end(&r, on_event, &s);
    assert_string_equal(s.all.ptr, "notification {\"stream\":\"stdout\",\"text\":\"a [SECRET:T]\"}\n"
                                   "notification {\"between\":true}\n"
                                   "notification {\"stream\":\"stdout\",\"text\":\"[REDACTED:private_key]\"}\n"
                                   "notification {\"stream\":\"stdout\",\"text\":\"after\"}\n");
    end(&s, &r);
}

/* A token that lies over two pieces of a line that is too long. */
static void test_pieces_of_a_line(void **state)
{
    struct seen s;
    struct redaction r;
    static const char token[] = TOKEN;
    char *piece = malloc(LINE_PIECE_BYTES);
    (void)state;
    begin(&s, &r);
    memset(piece, 'x', LINE_PIECE_BYTES);
    for (int i = 0; i < 12; i++) {
        memset(piece, 'x', LINE_PIECE_BYTES);
        memcpy(piece, &token[20], sizeof token - 21);
        memcpy(piece + LINE_PIECE_BYTES - 20, token, 20);
        redaction_plain(&r, (struct str){piece, LINE_PIECE_BYTES}, true, on_event, &s);
    }
    redaction_plain(&r, STR("next"), false, on_event, &s);
    redaction_end(&r, on_event, &s);
    assert_null(strstr(s.all.ptr, TOKEN));
    assert_non_null(strstr(s.all.ptr, "[SECRET:T]"));
    assert_non_null(strstr(s.all.ptr, "\"partial\":true"));
    assert_non_null(strstr(s.all.ptr, "\"text\":\"next\"}\n"));
    free(piece);
    end(&s, &r);
}

static void test_an_event_that_outgrows_its_bound_is_withheld(void **state)
{
    struct seen s;
    struct redaction r;
    struct strbuf data;
    (void)state;
    begin(&s, &r);
    redaction_done(&r);
    assert_int_equal(redaction_init(&r, &(struct redact_secret){STR("A_RATHER_LONG_NAME"), STR("abcdef")}, 1), ERR_OK);
    strbuf_init(&data, 1 << 20);
    strbuf_addz(&data, "{\"x\":\"");
    for (int i = 0; i < 30000; i++)
        strbuf_addz(&data, "abcdef ");
    strbuf_addz(&data, "\"}");
    redaction_event(&r, EVENT_TOOL_RESPONSE, strbuf_str(&data), on_event, &s);
    assert_string_equal(s.all.ptr, "tool_response {\"redacted\":\"[REDACTED:undecided]\"}\n");
    strbuf_done(&data);
    end(&s, &r);
}

/* Redacted first, cut afterwards: what is cut off never leaves half a secret. */
static void test_the_claim(void **state)
{
    struct seen s;
    struct redaction r;
    struct adapter_claim claim = {0};
    (void)state;
    begin(&s, &r);
    strbuf_init(&claim.result, LIMIT_RESULT);
    strbuf_init(&claim.message, LIMIT_EVENT);
    strbuf_addz(&claim.result, "{\"t\" : \"" TOKEN "\",\"n\":1.0}");
    for (int i = 0; i < LIMIT_ERROR_MESSAGE - 10; i++)
        strbuf_addc(&claim.message, 'm');
    strbuf_addz(&claim.message, TOKEN);
    redaction_claim(&r, &claim);
    assert_string_equal(claim.result.ptr, "{\"t\" : \"[SECRET:T]\",\"n\":1.0}");
    assert_int_equal(claim.message.len, LIMIT_ERROR_MESSAGE);
    assert_null(strstr(claim.message.ptr, "ert"));
    char text[32];
    redaction_message(&r, STR("exit: " TOKEN), text, sizeof text);
    assert_string_equal(text, "exit: [SECRET:T]");
    strbuf_done(&claim.result);
    strbuf_done(&claim.message);
    end(&s, &r);
}

static void test_output_in_pieces(void **state)
{
    static const char whole[] = "x " TOKEN "\ny";
    (void)state;
    for (size_t cut = 0; cut < sizeof whole; cut++) {
        struct seen s;
        struct redaction r;
        struct strbuf out;
        begin(&s, &r);
        strbuf_init(&out, 4096);
        strbuf_add(&out, redaction_err(&r, (struct str){whole, cut}, false));
        strbuf_add(&out, redaction_err(&r, (struct str){whole + cut, sizeof whole - 1 - cut}, false));
        strbuf_add(&out, redaction_err(&r, STR(""), true));
        assert_string_equal(out.ptr, "x [SECRET:T]\ny");
        strbuf_done(&out);
        end(&s, &r);
    }
}

/* Much the same goes through the quick way as through the plain one, and comes out alike. */
static void test_the_quick_way_is_the_plain_one(void **state)
{
    enum { ROUNDS = 1000, BYTES = 400 };
    uint64_t seed = 0x9e3779b97f4a7c15;
    long taken = 0;
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t bytes[BYTES];
        uint64_t began = seed;
        for (size_t i = 0; i < BYTES; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes[i] = (uint8_t)(seed >> 32);
        }
        bytes[0] = (uint8_t)(round % 5); /* the last secret is so short that there is no quick way */
        int n = delta_both_ways(bytes, BYTES);
        if (n < 0)
            fail_msg("round %d, seed %llx", round, (unsigned long long)began);
        taken += n;
    }
    assert_true(taken > 20L * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deltas_cut_everywhere),
        cmocka_unit_test(test_other_fields_of_a_delta_stay),
        cmocka_unit_test(test_plain_lines),
        cmocka_unit_test(test_pieces_of_a_line),
        cmocka_unit_test(test_an_event_that_outgrows_its_bound_is_withheld),
        cmocka_unit_test(test_the_claim),
        cmocka_unit_test(test_output_in_pieces),
        cmocka_unit_test(test_the_quick_way_is_the_plain_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
