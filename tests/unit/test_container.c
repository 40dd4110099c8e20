#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "runner/container_job.h"

static struct strbuf out, err;

static void take(void *ctx, enum job_stream stream, struct str bytes)
{
    (void)ctx;
    strbuf_add(stream == JOB_STDERR ? &err : &out, bytes);
}

/* However the bytes are cut. */
static void test_frames(void **state)
{
    static const char text[] = "\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\3err\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1!";
    struct str all = {text, sizeof text - 1};
    (void)state;
    strbuf_init(&out, 100);
    strbuf_init(&err, 100);
    for (size_t piece = 1; piece <= all.len; piece++) {
        struct frames f = {.left = 0};
        strbuf_reset(&out);
        strbuf_reset(&err);
        for (size_t at = 0; at < all.len; at += piece) {
            size_t n = all.len - at < piece ? all.len - at : piece;
            assert_true(docker_frames_feed(&f, (struct str){all.ptr + at, n}, take, NULL));
        }
        assert_true(str_eqz(strbuf_str(&out), "hello!"));
        assert_true(str_eqz(strbuf_str(&err), "err"));
    }
    struct frames f = {.left = 0};
    assert_false(docker_frames_feed(&f, STR("\3\0\0\0\0\0\0\1x"), take, NULL));
    assert_false(docker_frames_feed(&f, STR("\1\0\0\0\0\0\0\1x"), take, NULL));
    f = (struct frames){.left = 0};
    assert_false(docker_frames_feed(&f, STR("HTTP/1.1 500"), take, NULL));
    strbuf_done(&out);
    strbuf_done(&err);
}

static const struct container_owner owner = {STR("run"), STR("node"), STR("p:"), STR("me"), 3};

static void test_what_is_asked_for(void **state)
{
    static const char *const command[] = {"a", "b \"c\"", NULL}, *const env[] = {"K=v\nw", NULL};
    struct job_spec spec = {.command = command,
                            .env = env,
                            .network = NETWORK_FILTERED, /* what it does not know is none */
                            .limits = {.memory_bytes = 64 << 20, .cpu_milli = 250, .disk_bytes = 4 << 20}};
    struct arena a;
    struct json *root;
    (void)state;
    strbuf_init(&out, 65536);
    arena_init(&a, 1 << 20);
    container_create_body(&spec, &owner, true, &out);
    assert_int_equal(json_parse(&a, strbuf_str(&out), 16, 16, &root, NULL), ERR_OK);
    const struct json *host = json_get(root, "HostConfig");
    assert_int_equal(json_get(host, "Memory")->integer, 64 << 20);
    assert_int_equal(json_get(host, "MemorySwap")->integer, 64 << 20);
    assert_int_equal(json_get(host, "NanoCpus")->integer, 250000000);
    assert_int_equal(json_get(host, "PidsLimit")->integer, CONTAINER_PIDS);
    assert_true(json_get(host, "ReadonlyRootfs")->boolean);
    assert_false(json_get(host, "Privileged")->boolean);
    assert_true(str_eqz(json_get(host, "NetworkMode")->string, "none"));
    assert_true(str_eqz(json_get(host, "CapDrop")->raw, "[\"ALL\"]"));
    assert_true(str_eqz(json_get(host, "SecurityOpt")->raw, "[\"no-new-privileges\"]"));
    assert_true(str_eqz(json_get(json_get(root, "Labels"), "errand.attempt")->string, "3"));
    assert_true(str_eqz(json_get(root, "Cmd")->raw, "[\"a\",\"b \\\"c\\\"\"]"));
    assert_true(str_eqz(json_get(root, "Env")->child->string, "K=v\nw"));
    for (const char *const *no =
             (const char *const[]){"Binds", "Mounts", "Devices", "CapAdd", "PidMode", "VolumesFrom", NULL};
         *no; no++)
        assert_null(json_get(host, *no));
    arena_done(&a);
    strbuf_done(&out);
}

static void test_states(void **state)
{
    struct container_state s;
    struct job_limits limits = {.memory_bytes = 5, .cpu_milli = 2};
    (void)state;
    struct str body =
        STR("{\"Id\":\"ab12\",\"Image\":\"sha256:cd\",\"State\":{\"Status\":\"exited\",\"Running\":false,\"OOMKilled\":"
            "true,"
            "\"ExitCode\":137,\"Pid\":0},\"Config\":{\"Labels\":{\"errand.run\":\"run\",\"errand.attempt\":\"3\","
            "\"errand.node\":\"node\",\"errand.prefix\":\"other\"}},\"HostConfig\":{\"Memory\":5,\"NanoCpus\":2000000,"
            "\"PidsLimit\":9,\"ReadonlyRootfs\":true,\"NetworkMode\":\"none\"}}");
    assert_true(container_read_state(body, &owner, &s));
    assert_true(!s.running && !s.created && s.oom && s.exit_code == 137 && s.node_ours && !s.prefix_ours);
    assert_null(container_limits_fault(&s, &limits, true));
    limits.memory_bytes = 6;
    assert_non_null(container_limits_fault(&s, &limits, true));
    limits = (struct job_limits){.pids = 8};
    assert_non_null(container_limits_fault(&s, &limits, true));
    limits.pids = 9;
    assert_null(container_limits_fault(&s, &limits, true));
    s.no_network = false;
    assert_non_null(container_limits_fault(&s, &limits, true));
    assert_null(container_limits_fault(&s, &limits, false));
    s.read_only = false;
    assert_non_null(container_limits_fault(&s, &limits, false));
    static const char *const bad[] = {
        "", "[]", "{}", "{\"Id\":\"../x\",\"State\":{}}", "{\"Id\":5,\"State\":{}}", "{\"Id\":\"a\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(container_read_state(str_of(bad[i]), &owner, &s));
}

static void test_usage_errors_and_exits(void **state)
{
    struct container_usage u;
    struct job_exit how = {.code = 0};
    char text[64], id[CONTAINER_ID_MAX];
    (void)state;
    assert_true(
        container_read_usage(STR("{\"cpu_stats\":{\"cpu_usage\":{\"total_usage\":12345678901234567890}},"
                                 "\"memory_stats\":{\"usage\":7},\"networks\":{\"a\":{\"rx_bytes\":1,\"tx_bytes\":2},"
                                 "\"b\":{\"rx_bytes\":3,\"tx_bytes\":4}}}"),
                             &u));
    assert_true(u.memory == 7 && u.rx == 4 && u.tx == 6 && u.cpu_ns == -1);
    assert_true(container_read_usage(STR("{\"memory_stats\":{\"usage\":7},\"networks\":null}"), &u));
    assert_true(u.rx == -1 && u.tx == -1);
    assert_false(container_read_usage(STR("{}"), &u));
    container_read_error(STR("{\"message\":\"no such thing\"}"), 404, text, sizeof text);
    assert_string_equal(text, "no such thing");
    container_read_error(STR("<html>"), 502, text, sizeof text);
    assert_string_equal(text, "the engine answered with status 502");
    container_exit(137, &how);
    assert_true(how.started && how.signaled && how.code == 9);
    container_exit(128, &how);
    assert_true(!how.signaled && how.code == 128);
    container_exit(7, &how);
    assert_true(!how.signaled && how.code == 7);
    assert_true(container_handle_id(STR("{\"containerId\":\"ab\",\"consoleUrl\":\"x\"}"), id));
    assert_string_equal(id, "ab");
    assert_false(container_handle_id(STR("{\"containerId\":\"a/../b\"}"), id));
}

static void test_who_lives(void **state)
{
    char mine[RUNNER_PROCESS_MAX];
    (void)state;
    runner_process_name(mine);
    assert_true(runner_process_alive(str_of(mine)));
    mine[strlen(mine) - 1] ^= 1;
    assert_false(runner_process_alive(str_of(mine))); /* before the machine was started anew */
    assert_false(runner_process_alive(STR("")));
    assert_false(runner_process_alive(STR("1.5.x")));
    assert_false(runner_process_alive(STR("-1.5.x")));
}

/* Every edge of the table, walked from the first phase: each phase is reached, and an end from each. */
static void test_phases(void **state)
{
    bool reached[CONTAINER_PHASE_COUNT] = {[CONTAINER_IMAGE] = true};
    (void)state;
    for (int round = 0; round < CONTAINER_PHASE_COUNT; round++)
        for (int from = 0; from < CONTAINER_PHASE_COUNT; from++)
            for (int to = 0; to < CONTAINER_PHASE_COUNT; to++)
                if (reached[from] && container_edge((enum container_phase)from, (enum container_phase)to))
                    reached[to] = true;
    for (int p = 0; p < CONTAINER_PHASE_COUNT; p++) {
        assert_true(reached[p]);
        assert_false(container_edge(CONTAINER_GONE, (enum container_phase)p));
        bool ends = p == CONTAINER_GONE || p == CONTAINER_ATTACH || p == CONTAINER_START || p == CONTAINER_LOOK;
        assert_int_equal(container_edge((enum container_phase)p, CONTAINER_GONE), !ends);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),    cmocka_unit_test(test_what_is_asked_for),
        cmocka_unit_test(test_states),    cmocka_unit_test(test_usage_errors_and_exits),
        cmocka_unit_test(test_who_lives), cmocka_unit_test(test_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
