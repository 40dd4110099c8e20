/* Warm workers' pure parts: how many there are, when one is replaced, what it gets, and where a run ends in what it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/limits.h"
#include "runner/adapter.h"
#include "runner/pool_rules.h"
#include "runner/pool_scan.h"
#include "runner/pool_worker.h"

static void test_whose_workers_they_are(void **state)
{
    (void)state;
    char a[SHA256_HEX_LEN + 1], b[SHA256_HEX_LEN + 1];
    pool_key(STR("ws"), STR("{}"), a);
    pool_key(STR("ws"), STR("{}"), b);
    assert_string_equal(a, b);
    pool_key(STR("wt"), STR("{}"), b);
    assert_string_not_equal(a, b);
    pool_key(STR("ws"), STR("{ }"), b);
    assert_string_not_equal(a, b);
    pool_key(STR("ws{"), STR("}"), b); /* the same bytes, cut elsewhere */
    assert_string_not_equal(a, b);
}

static void test_settings(void **state)
{
    (void)state;
    struct pool_settings s;
    assert_true(pool_settings_read(STR("{\"pool\":{\"base\":\"sandbox\",\"min\":1,\"max\":4,\"idleMs\":5,\"maxRuns\":6}"
                                       ",\"allowRuntimeDeps\":true}"),
                                   &s));
    assert_true(s.sandbox && s.deps && s.min == 1 && s.max == 4 && s.idle_ms == 5 && s.max_runs == 6);
    assert_true(pool_settings_read(
        STR("{\"pool\":{\"base\":\"process\",\"min\":0,\"max\":1,\"idleMs\":1,\"maxRuns\":1}}"), &s));
    assert_false(s.sandbox || s.deps);
    assert_false(pool_settings_read(STR("{}"), &s));
    assert_false(pool_settings_read(STR("{\"pool\":{\"base\":\"process\",\"min\":0,\"idleMs\":1,\"maxRuns\":1}}"), &s));
    assert_false(pool_settings_read(STR("{"), &s));
}

/* Every small pool: never more than max, somebody for each who waits where there is room, min where that is asked for; and who is ended leaves min. */
static void test_how_many(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 4 * 4 * 4 * 4 * 4 * 4 * 4; i++) {
        int64_t d[7], rest = i;
        for (size_t k = 0; k < ARRAY_LEN(d); k++, rest /= 4)
            d[k] = rest % 4;
        struct pool_settings s = {.min = d[0] <= d[1] + 1 ? d[0] : d[1] + 1, .max = d[1] + 1};
        struct pool_counts c = {.starting = d[2], .idle = d[3], .busy = d[4], .ending = d[5], .waiting = d[6]};
        int64_t now = c.starting + c.idle + c.busy + c.ending;
        for (int keep = 0; keep < 2; keep++) {
            int64_t n = pool_to_start(&s, &c, keep);
            assert_true(n >= 0 && (n == 0 || now + n <= s.max));
            if (now + n < s.max) {
                assert_true(c.starting + c.idle + n >= c.waiting);
                assert_true(!keep || now - c.ending + n >= s.min);
            }
            if (!keep && c.waiting == 0)
                assert_int_equal(n, 0);
        }
        int64_t ends = pool_to_end(&s, &c);
        assert_true(ends >= 0 && ends <= c.idle);
        assert_true(ends == 0 || now - c.ending - ends >= s.min);
        assert_true(ends == c.idle || now - c.ending - ends <= s.min);
    }
    assert_int_equal(pool_to_evict(4, 4, 0, 1), 1);
    assert_int_equal(pool_to_evict(4, 4, 1, 1), 0);
    assert_int_equal(pool_to_evict(3, 4, 0, 1), 0);
    assert_int_equal(pool_to_evict(4, 4, 0, 3), 3);
    assert_int_equal(pool_to_evict(9, 4, 0, 2), 2);
}

static void test_replaced(void **state)
{
    (void)state;
    const struct pool_settings s = {.max = 1, .max_runs = 3};
    assert_null(pool_replace_why(&s, &(struct pool_verdict){.runs = 2}));
    assert_non_null(pool_replace_why(&s, &(struct pool_verdict){.runs = 3}));
    assert_non_null(pool_replace_why(&s, &(struct pool_verdict){.runs = 1, .failed = true}));
    assert_non_null(pool_replace_why(&s, &(struct pool_verdict){.runs = 1, .overlong = true}));
    assert_non_null(pool_replace_why(&s, &(struct pool_verdict){.runs = 1, .children_left = true}));
    assert_non_null(pool_replace_why(&s, &(struct pool_verdict){.runs = 1, .limit_hit = true}));
}

static void test_line(void **state)
{
    (void)state;
    struct strbuf out, names;
    struct arena a;
    struct json *root;
    const char *const env[] = {"HOME=/p", "A=x=\"y\"\n", "TMPDIR=/p", "PLAIN=/p/q", "EMPTY=", NULL};
    const char *const none[] = {"HOME=/p", NULL};
    for (int i = 0; i < 2; i++) {
        arena_init(&a, 1 << 20);
        strbuf_init(&out, 100000);
        strbuf_init(&names, 1000);
        pool_line_begin(STR("{\"runId\":\"r\",\"input\":{\"env\":1}}"), i ? none : env, "/p", &out, &names);
        pool_line_end(strbuf_str(&names), "/w/\"1", &out);
        assert_int_equal(json_parse(&a, strbuf_str(&out), 8, 4, &root, NULL), ERR_OK);
        assert_null(memchr(out.ptr, '\n', out.len));
        const struct json *e = json_get(root, "env");
        assert_int_equal(e->count, i ? 1 : 5);
        assert_true(str_eqz(json_get(e, "HOME")->string, "/w/\"1"));
        assert_true(str_eqz(json_get(root, "workDir")->string, "/w/\"1"));
        assert_true(str_eqz(json_get(root, "runId")->string, "r"));
        if (!i) {
            assert_true(str_eqz(json_get(e, "TMPDIR")->string, "/w/\"1"));
            assert_true(str_eqz(json_get(e, "A")->string, "x=\"y\"\n"));
            assert_true(str_eqz(json_get(e, "PLAIN")->string, "/p/q"));
            assert_true(str_eqz(json_get(e, "EMPTY")->string, ""));
        }
        strbuf_done(&out);
        strbuf_done(&names);
        arena_done(&a);
    }
}

/* ---- where a run ends ---- */

static void ignore_event(void *ctx, enum event_kind kind, struct str data)
{
    (void)ctx;
    (void)kind;
    (void)data;
}

#define READY "{\"kind\":\"notification\",\"data\":{\"type\":\"worker_ready\"}}"
static const struct {
    const char *line;
    enum pool_line is;
} lines[] = {
    {"", POOL_LINE_OTHER},
    {"runtime_terminal", POOL_LINE_OTHER},
    {"{\"kind\":\"runtime_terminal\",\"data\":{}}", POOL_LINE_SUCCESS},
    {"{\"kind\":\"runtime_terminal\",\"data\":{}}\r", POOL_LINE_SUCCESS},
    {"{\"data\":{\"status\":\"success\",\"result\":[1]},\"kind\":\"runtime_terminal\"}", POOL_LINE_SUCCESS},
    {"{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"stopped\"}}", POOL_LINE_SUCCESS},
    {"{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"error\"}}", POOL_LINE_FAILURE},
    {"{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"done\"}}", POOL_LINE_FAILURE},
    {"{\"k\\u0069nd\":\"runtime\\u005fterminal\",\"data\":{}}", POOL_LINE_SUCCESS},
    {" {\"kind\":\"runtime_terminal\",\"data\":{}}", POOL_LINE_OTHER},
    {"{\"kind\":\"runtime_terminal\",\"data\":[]}", POOL_LINE_OTHER},
    {"{\"kind\":\"runtime_terminal\"}", POOL_LINE_OTHER},
    {"{\"kind\":\"runtime_terminal\",\"data\":{}", POOL_LINE_OTHER},
    {"{\"kind\":\"notification\",\"data\":{\"kind\":\"runtime_terminal\"}}", POOL_LINE_OTHER},
    {"{\"kind\":\"assistant_text\",\"data\":{\"text\":\"runtime_terminal\"}}", POOL_LINE_OTHER},
    {READY, POOL_LINE_READY},
    {"{\"kind\":\"notification\",\"data\":{\"type\":\"worker_ready\",\"more\":1}}", POOL_LINE_READY},
    {"{\"kind\":\"assistant_text\",\"data\":{\"type\":\"worker_ready\"}}", POOL_LINE_OTHER},
    {"{\"kind\":\"notification\",\"data\":{\"type\":\"ready\",\"is\":\"worker_ready\"}}", POOL_LINE_OTHER},
};

/* However the bytes are cut; and a run ends for the pool exactly where it does for the adapter. */
static void test_lines_as_the_adapter_has_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct str line = str_of(lines[i].line);
        for (size_t cut = 0; cut <= line.len; cut++) {
            struct pool_scan s;
            struct adapter a;
            enum pool_line is = POOL_LINE_PARTIAL;
            char text[256];
            memcpy(text, line.ptr, line.len);
            memcpy(text + line.len, "\nrest", 5);
            pool_scan_init(&s);
            adapter_init(&a, STR("events"), ignore_event, NULL);
            if (cut > 0) {
                assert_int_equal(pool_scan_feed(&s, (struct str){text, cut}, &is), cut);
                assert_int_equal(is, POOL_LINE_PARTIAL);
            }
            assert_int_equal(pool_scan_feed(&s, (struct str){text + cut, line.len - cut + 5}, &is), line.len - cut + 1);
            assert_int_equal(is, lines[i].is);
            adapter_feed(&a, (struct str){text, line.len + 1});
            assert_int_equal(a.claim.made, pool_line_ends(is));
            assert_int_equal(a.claim.error, is == POOL_LINE_FAILURE);
            assert_int_equal(pool_scan_end(&s), POOL_LINE_OTHER);
            adapter_done(&a);
            pool_scan_done(&s);
        }
    }
}

static void test_a_line_without_its_newline(void **state)
{
    (void)state;
    struct pool_scan s;
    enum pool_line is;
    struct str line = STR("{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"error\"}}");
    pool_scan_init(&s);
    assert_int_equal(pool_scan_feed(&s, line, &is), line.len);
    assert_int_equal(is, POOL_LINE_PARTIAL);
    assert_int_equal(pool_scan_end(&s), POOL_LINE_FAILURE);
    pool_scan_done(&s);
}

static void test_lines_too_long(void **state)
{
    (void)state;
    static const char *const heads[] = {"{\"kind\":\"runtime_terminal\",\"data\":{\"result\":\"",
                                        "{\"kind\":\"x\",\"data\":\""};
    size_t len = LIMIT_RESULT + LIMIT_EVENT + 1;
    char *text = malloc(len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        for (size_t step = 7777; step <= len + 1; step += 600000) {
            struct pool_scan s;
            enum pool_line is = POOL_LINE_PARTIAL;
            memset(text, 'x', len);
            memcpy(text, heads[i], strlen(heads[i]));
            text[len] = '\n';
            pool_scan_init(&s);
            for (size_t at = 0; at < len + 1; at += step)
                pool_scan_feed(&s, (struct str){text + at, len + 1 - at < step ? len + 1 - at : step}, &is);
            assert_int_equal(is, i == 0 ? POOL_LINE_FAILURE : POOL_LINE_OTHER);
            assert_true(s.was_overlong);
            pool_scan_feed(&s, STR(READY "\n"), &is);
            assert_int_equal(is, POOL_LINE_READY);
            pool_scan_reset(&s);
            assert_false(s.was_overlong);
            pool_scan_done(&s);
        }
    }
    free(text);
}

static void test_states(void **state)
{
    (void)state;
    static const char *const allowed[POOL_WORKER_STATE_COUNT] = {[POOL_WORKER_PREPARING] = "IEG",
                                                                 [POOL_WORKER_IDLE] = "BEG",
                                                                 [POOL_WORKER_BUSY] = "PEG",
                                                                 [POOL_WORKER_ENDING] = "G",
                                                                 [POOL_WORKER_GONE] = ""};
#define NAME(name) [POOL_WORKER_##name] = #name,
    static const char *const names[] = {POOL_WORKER_STATES(NAME)};
#undef NAME
    for (enum pool_worker_state from = 0; from < POOL_WORKER_STATE_COUNT; from++)
        for (enum pool_worker_state to = 0; to < POOL_WORKER_STATE_COUNT; to++)
            assert_int_equal(pool_worker_edge(from, to), strchr(allowed[from], names[to][0]) != NULL);
}

static void test_trees(void **state)
{
    (void)state;
    struct pool_tree none = {0}, one = {.pids = {5}, .n = 1}, other = {.pids = {6}, .n = 1},
                     unknown = {.unknown = true};
    assert_true(pool_tree_supported());
    assert_false(pool_tree_has_more(&none, &none));
    assert_false(pool_tree_has_more(&one, &one));
    assert_false(pool_tree_has_more(&none, &one));
    assert_true(pool_tree_has_more(&one, &none));
    assert_true(pool_tree_has_more(&other, &one));
    assert_true(pool_tree_has_more(&unknown, &one));
    assert_true(pool_tree_has_more(&one, &unknown));
    pool_tree_read(0, &none);
    assert_true(none.unknown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whose_workers_they_are),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_how_many),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_lines_as_the_adapter_has_them),
        cmocka_unit_test(test_a_line_without_its_newline),
        cmocka_unit_test(test_lines_too_long),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_trees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
