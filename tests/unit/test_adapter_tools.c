/* The protocols goose and claude: a corpus of transcripts' shapes, each with the events that it gives, checked one by one and at every cut; text that comes twice; what is longer than an event may be. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/adapter.h"

#define CORPUS SOURCE_DIR "/tests/unit/adapter_corpus/"

static void on_event(void *ctx, enum event_kind kind, struct str data)
{
    struct strbuf *seen = ctx;
    assert_true(kind != EVENT_RUNTIME_STARTED && kind != EVENT_RUNTIME_TERMINAL && data.len + 128 <= LIMIT_EVENT);
    if (data.ptr[0] != '{' || !json_valid(data, LIMIT_JSON_DEPTH - 2))
        fail_msg("no object: %.*s", STR_ARG(data));
    strbuf_addf(seen, "{\"kind\":\"%s\",\"data\":", event_kind_name(kind));
    strbuf_add(seen, data);
    strbuf_addz(seen, "}\n");
}

/* What the bytes give: an event a line, the claim at the end. */
static void run(struct strbuf *seen, const char *protocol, struct str bytes, size_t step)
{
    struct adapter a;
    strbuf_init(seen, 64U << 20);
    adapter_init(&a, str_of(protocol), on_event, seen);
    for (size_t at = 0; at < bytes.len; at += step) {
        size_t n = step < bytes.len - at ? step : bytes.len - at;
        char *block = malloc(n);
        assert_non_null(block);
        memcpy(block, bytes.ptr + at, n);
        adapter_feed(&a, (struct str){block, n});
        free(block);
    }
    adapter_end(&a);
    struct json_writer w;
    json_writer_init(&w, seen);
    json_object_begin(&w);
    json_kv_str(&w, "claim", !a.claim.made ? STR("none") : a.claim.error ? STR("error") : STR("success"));
    if (a.claim.message.len > 0)
        json_kv_str(&w, "message", strbuf_str(&a.claim.message));
    if (a.claim.result.len > 0)
        json_kv_raw(&w, "result", strbuf_str(&a.claim.result));
    if (a.claim.too_long || strbuf_failed(&a.claim.result))
        json_kv_bool(&w, "tooLong", true);
    json_object_end(&w);
    strbuf_addc(seen, '\n');
    adapter_done(&a);
    assert_false(strbuf_failed(seen));
}

static void read_file(struct strbuf *out, const char *path)
{
    FILE *f = fopen(path, "rb");
    char block[4096];
    strbuf_init(out, 16U << 20);
    if (!f)
        return;
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        strbuf_add(out, (struct str){block, n});
    (void)fclose(f);
}

static struct str next_line(struct str *rest)
{
    const char *newline = rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
    struct str line = {rest->ptr, newline ? (size_t)(newline - rest->ptr) : rest->len};
    size_t used = line.len + (newline ? 1 : 0);
    rest->ptr += used;
    rest->len -= used;
    return line;
}

/* Event by event; what came is left beside the test for who must look at it. */
static void compare(const char *name, struct str seen, struct str expected)
{
    struct str a = seen, b = expected;
    for (size_t n = 1; a.len > 0 || b.len > 0; n++) {
        struct str got = next_line(&a), wanted = next_line(&b);
        if (str_eq(got, wanted))
            continue;
        char path[512];
        snprintf(path, sizeof path, "%s/%s.actual.jsonl", BINARY_DIR, name);
        FILE *f = fopen(path, "wb");
        if (f) {
            (void)fwrite(seen.ptr, 1, seen.len, f);
            (void)fclose(f);
        }
        fail_msg("%s: event %zu is\n%.*s\nnot\n%.*s\n(all: %s)", name, n, STR_ARG(got), STR_ARG(wanted), path);
    }
}

static void run_file(const char *name)
{
    static const size_t steps[] = {1, 7, 4096, 1 << 20};
    struct strbuf in, expected, seen;
    char path[512];
    snprintf(path, sizeof path, CORPUS "%s.jsonl", name);
    read_file(&in, path);
    assert_true(in.len > 0);
    snprintf(path, sizeof path, CORPUS "%s.expected.jsonl", name);
    read_file(&expected, path);
    char protocol[16];
    snprintf(protocol, sizeof protocol, "%.*s", (int)strcspn(name, "_"), name);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        run(&seen, protocol, strbuf_str(&in), steps[i]);
        compare(name, strbuf_str(&seen), strbuf_str(&expected));
        strbuf_done(&seen);
    }
    strbuf_done(&in);
    strbuf_done(&expected);
}

static void test_corpus(void **state)
{
    (void)state;
    DIR *d = opendir(CORPUS);
    int files = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        struct str name = str_of(e->d_name);
        if (name.len < 7 || !str_eqz((struct str){name.ptr + name.len - 6, 6}, ".jsonl") ||
            strstr(e->d_name, ".expected."))
            continue;
        char base[256];
        snprintf(base, sizeof base, "%.*s", (int)(name.len - 6), e->d_name);
        run_file(base);
        files++;
    }
    (void)closedir(d);
    printf("%d transcripts\n", files);
    assert_true(files >= 20);
}

/* {before}{n times x}{after}\n */
static void long_line(struct strbuf *b, const char *before, const char *x, size_t n, const char *after)
{
    strbuf_init(b, 8U << 20);
    strbuf_addz(b, before);
    for (size_t i = 0; i < n; i++)
        strbuf_addz(b, x);
    strbuf_addf(b, "%s\n", after);
}

/* The parts of what was cut, put together: of the member `key` of events of the kind. */
static void joined(struct str seen, const char *kind, const char *key, struct strbuf *out, size_t *ret_parts)
{
    *ret_parts = 0;
    strbuf_init(out, 16U << 20);
    while (seen.len > 0) {
        struct arena arena;
        struct json *root;
        struct str line = next_line(&seen);
        arena_init(&arena, 64 << 20);
        assert_int_equal(json_parse(&arena, line, 128, 3, &root, NULL), ERR_OK);
        const struct json *k = json_get(root, "kind"), *data = json_get(root, "data"), *text = json_get(data, key);
        if (k && str_eqz(k->string, kind) && text) {
            ++*ret_parts;
            const struct json *part = json_get(data, "part"), *partial = json_get(data, "partial");
            assert_true(text->type == JSON_STRING);
            assert_true(str_eqz(k->string, "assistant_text") ||
                        (partial->boolean && part->integer == (int64_t)*ret_parts));
            strbuf_add(out, text->string);
        }
        arena_done(&arena);
    }
}

static void check_long(const char *protocol, const char *before, const char *x, size_t n, const char *after,
                       const char *kind, const char *key, const char *opens, const char *closes)
{
    struct strbuf line, seen, whole, expected;
    size_t parts;
    long_line(&line, before, x, n, after);
    run(&seen, protocol, strbuf_str(&line), line.len);
    joined(strbuf_str(&seen), kind, key, &whole, &parts);
    long_line(&expected, opens, x, n, closes);
    expected.len--;
    if (!str_eq(strbuf_str(&whole), strbuf_str(&expected)))
        fail_msg("%s %s: %zu bytes in %zu parts, not %zu", protocol, kind, whole.len, parts, expected.len);
    assert_true(parts > 1);
    strbuf_done(&line);
    strbuf_done(&seen);
    strbuf_done(&whole);
    strbuf_done(&expected);
}

static void test_what_is_too_long_is_cut_and_whole(void **state)
{
    (void)state;
    check_long(
        "claude",
        "{\"type\":\"user\",\"message\":{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":\"",
        "é", 200000, "\"}]}}", "tool_response", "output", "", "");
    check_long(
        "claude",
        "{\"type\":\"user\",\"message\":{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":[\"",
        "x", 400000, "\"]}]}}", "tool_response", "output", "[\"", "\"]");
    check_long("claude",
               "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":"
               "\"Write\",\"input\":{\"a\":\"",
               "y", 400000, "\"}}]}}", "tool_request", "input", "{\"a\":\"", "\"}");
    check_long("claude", "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"", "💩",
               100000, "\"}]}}", "assistant_text", "text", "", "");
    check_long("claude", "{\"type\":\"new\",\"x\":\"", "z", 400000, "\"}", "notification", "line",
               "{\"type\":\"new\",\"x\":\"", "\"}");
    check_long("goose",
               "{\"type\":\"message\",\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"",
               "a", 500000, "\"}]}}", "assistant_text", "text", "", "");
    check_long("goose",
               "{\"type\":\"message\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"toolResponse\",\"id\":"
               "\"t\",\"toolResult\":{\"status\":\"error\",\"error\":\"",
               "b", 500000, "\"}}]}}", "tool_response", "output", "", "");
}

/* Two members that are both too long: the whole is cut. */
static void test_two_long_members(void **state)
{
    (void)state;
    struct strbuf line, seen, whole;
    size_t parts;
    long_line(
        &line,
        "{\"type\":\"user\",\"message\":{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":\"",
        "a", 200000, "\",\"more\":\"");
    line.len--;
    for (int i = 0; i < 200000; i++)
        strbuf_addc(&line, 'b');
    strbuf_addz(&line, "\"}]}}\n");
    run(&seen, "claude", strbuf_str(&line), line.len);
    joined(strbuf_str(&seen), "notification", "text", &whole, &parts);
    assert_true(parts > 10 && whole.len > 400000 && json_valid(strbuf_str(&whole), 8));
    strbuf_done(&line);
    strbuf_done(&seen);
    strbuf_done(&whole);
}

/* A line over every bound becomes pieces of plain output, as in `events`; a result in one is no silent success. */
static void test_a_line_over_every_bound(void **state)
{
    (void)state;
    static const char *const protocols[] = {"goose", "claude"};
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        struct strbuf line, seen;
        long_line(&line, "{\"type\":\"result\",\"subtype\":\"success\",\"result\":\"", "r", 2000000, "\"}");
        run(&seen, protocols[i], strbuf_str(&line), 65536);
        assert_true(strstr(seen.ptr, "\"stream\":\"stdout\"") && strstr(seen.ptr, "\"partial\":true"));
        assert_true((strstr(seen.ptr, "\"tooLong\":true") != NULL) == (i == 1));
        strbuf_done(&line);
        strbuf_done(&seen);
    }
}

static void test_a_result_over_its_limit(void **state)
{
    (void)state;
    struct strbuf line, seen;
    long_line(&line, "{\"type\":\"result\",\"subtype\":\"success\",\"result\":\"", "r", LIMIT_RESULT + 1, "\"}");
    run(&seen, "claude", strbuf_str(&line), line.len);
    assert_non_null(strstr(seen.ptr, "{\"claim\":\"success\",\"tooLong\":true}"));
    strbuf_done(&line);
    strbuf_done(&seen);
    strbuf_init(&line, 8U << 20);
    for (int i = 0; i < 20; i++) {
        struct strbuf one;
        long_line(&one,
                  "{\"type\":\"message\",\"message\":{\"id\":\"m\",\"role\":\"assistant\",\"content\":[{\"type\":"
                  "\"text\",\"text\":\"",
                  "r", 100000, "\"}]}}");
        strbuf_add(&line, strbuf_str(&one));
        strbuf_done(&one);
    }
    strbuf_addz(&line, "{\"type\":\"complete\",\"total_tokens\":1}\n");
    run(&seen, "goose", strbuf_str(&line), 65536);
    assert_non_null(strstr(seen.ptr, "{\"claim\":\"success\",\"tooLong\":true}"));
    strbuf_done(&line);
    strbuf_done(&seen);
}

/* Many blocks under way: the oldest are forgotten, and their text may come twice, but never not at all. */
static void test_deltas_are_remembered_to_a_bound(void **state)
{
    (void)state;
    struct strbuf in, seen, whole;
    size_t parts;
    strbuf_init(&in, 1 << 20);
    strbuf_addz(&in, "{\"type\":\"stream_event\",\"event\":{\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}}\n");
    for (int i = 0; i < 100; i++)
        strbuf_addf(&in,
                    "{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\",\"index\":%d,\"delta\":{"
                    "\"type\":\"text_delta\",\"text\":\"<%d>\"}}}\n",
                    i, i);
    for (int i = 0; i < 100; i++)
        strbuf_addf(
            &in,
            "{\"type\":\"assistant\",\"message\":{\"id\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"<%d>\"}]}}\n",
            i);
    run(&seen, "claude", strbuf_str(&in), in.len);
    joined(strbuf_str(&seen), "assistant_text", "text", &whole, &parts);
    assert_int_equal(parts, 100 + 36); /* 64 are remembered */
    strbuf_done(&in);
    strbuf_done(&seen);
    strbuf_done(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_what_is_too_long_is_cut_and_whole),
        cmocka_unit_test(test_two_long_members),
        cmocka_unit_test(test_a_line_over_every_bound),
        cmocka_unit_test(test_a_result_over_its_limit),
        cmocka_unit_test(test_deltas_are_remembered_to_a_bound),
    };
    return cmocka_run_group_tests_name("adapter_tools", tests, NULL, NULL);
}
