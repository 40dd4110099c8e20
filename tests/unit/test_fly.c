#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runner/fly_job.h"

static const struct fly_owner owner = {STR("run"), STR("node"), STR("p:"), STR("me"), 2};

static void test_sizes(void **state)
{
    static const struct {
        int64_t mb, milli, cpus, memory;
    } all[] = {{0, 0, 1, 256},        {1, 1000, 1, 256},     {256, 1, 1, 256},      {257, 0, 1, 512},
               {300, 1500, 2, 512},   {2048, 1000, 1, 2048}, {2049, 1000, 2, 2304}, {100, 3000, 4, 1024},
               {32768, 0, 16, 32768}, {32769, 0, 0, 0},      {1, 16001, 0, 0}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct job_limits l = {.memory_bytes = all[i].mb << 20, .cpu_milli = all[i].milli};
        int64_t cpus = 0, memory = 0;
        assert_int_equal(fly_guest(&l, &cpus, &memory), all[i].cpus > 0);
        assert_int_equal(cpus, all[i].cpus);
        assert_int_equal(memory, all[i].memory);
    }
}

static void test_states_in_the_contract_s_words(void **state)
{
    static const struct {
        const char *word;
        enum job_status status;
    } all[] = {{"created", JOB_PROVISIONING},   {"starting", JOB_PROVISIONING}, {"replacing", JOB_PROVISIONING},
               {"something", JOB_PROVISIONING}, {"started", JOB_RUNNING},       {"stopping", JOB_STOPPING},
               {"suspending", JOB_STOPPING},    {"destroying", JOB_STOPPING},   {"stopped", JOB_TERMINATED},
               {"suspended", JOB_TERMINATED},   {"destroyed", JOB_TERMINATED},  {"failed", JOB_FAILED}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        assert_int_equal(fly_status_of(fly_state_of(str_of(all[i].word))), all[i].status);
}

static bool machine(const char *text, struct fly_machine *ret)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    bool ok = fly_read_machine(fly_parse(&a, str_of(text)), &owner, ret);
    arena_done(&a);
    return ok;
}

#define EXIT(at, more)                                                                                                 \
    "{\"type\":\"exit\",\"timestamp\":" #at                                                                            \
    ",\"request\":{\"exit_event\":{\"requested_stop\":false,\"signal\":-1," more "}}}"

static void test_exits(void **state)
{
    struct fly_machine m;
    struct job_exit how;
    const char *message;
    (void)state;
    assert_true(machine(
        "{\"id\":\"a1\",\"state\":\"stopped\",\"events\":[{\"type\":\"start\",\"timestamp\":9}," EXIT(
            7, "\"guest_exit_code\":3,\"guest_signal\":-1,\"exit_code\":3,\"oom_killed\":false") "," EXIT(5,
                                                                                                          "\"guest_"
                                                                                                          "exit_code\":"
                                                                                                          "4,\"oom_"
                                                                                                          "killed\":"
                                                                                                          "true") "]}",
        &m));
    fly_job_exit(&m, &how, &message);
    assert_true(how.started && !how.signaled && how.code == 3 && !how.class && !message);
    assert_true(machine("{\"id\":\"a1\",\"state\":\"destroyed\",\"events\":[" EXIT(
                            7, "\"guest_exit_code\":137,\"guest_signal\":9,\"oom_killed\":true") "]}",
                        &m));
    fly_job_exit(&m, &how, &message);
    assert_string_equal(how.class, "oom_killed");
    assert_true(machine("{\"id\":\"a1\",\"state\":\"destroyed\",\"events\":[" EXIT(7, "\"guest_signal\":15") "]}", &m));
    fly_job_exit(&m, &how, &message);
    assert_true(how.signaled && how.code == 15);
    assert_true(machine("{\"id\":\"a1\",\"state\":\"destroyed\",\"events\":[]}", &m));
    fly_job_exit(&m, &how, &message);
    assert_string_equal(how.class, "signal");
    assert_false(machine("{\"id\":\"../x\",\"state\":\"started\"}", &m));
    assert_false(machine("{\"id\":\"a\"}", &m));
    assert_false(machine("[]", &m));
}

static void test_handles_round_trip(void **state)
{
    struct fly_machine m = {.id = "d8d1", .region = "lhr"};
    struct strbuf out;
    char app[FLY_APP_MAX], id[FLY_ID_MAX];
    (void)state;
    strbuf_init(&out, 1024);
    fly_write_handle("the-app", &m, &out);
    assert_string_equal(out.ptr, "{\"appName\":\"the-app\",\"machineId\":\"d8d1\",\"region\":\"lhr\"}");
    assert_true(fly_read_handle(strbuf_str(&out), app, id));
    assert_string_equal(app, "the-app");
    assert_string_equal(id, "d8d1");
    assert_false(fly_read_handle(STR("{\"appName\":\"a/b\",\"machineId\":\"d\"}"), app, id));
    strbuf_reset(&out);
    executor_handle(&executor_fly, STR("{\"appName\":\"a\",\"machineId\":\"d\",\"region\":\"lhr\"}"), &out);
    assert_string_equal(out.ptr, "{\"appName\":\"a\",\"machineId\":\"d\",\"region\":\"lhr\",\"consoleUrl\":\"https://"
                                 "fly.io/apps/a/machines/d\"}");
    strbuf_reset(&out);
    executor_handle(&executor_process, STR("{\"pid\":\"1\"}"), &out);
    assert_string_equal(out.ptr, "{\"pid\":\"1\"}");
    strbuf_done(&out);
}

/* Virtual time: three at once, then one each 1.1 s, in order; idle time gives back three and no more. */
static void test_rates(void **state)
{
    struct fly_limits l = {.due_ms = {0}};
    (void)state;
    static const int64_t waits[] = {0, 0, 0, 1100, 2200, 3300};
    for (size_t i = 0; i < ARRAY_LEN(waits); i++)
        assert_int_equal(fly_limits_take(&l, FLY_GET, 1000000), waits[i]);
    assert_int_equal(fly_limits_take(&l, FLY_STOP, 1000000), 0);
    for (size_t i = 0; i < ARRAY_LEN(waits); i++)
        assert_int_equal(fly_limits_take(&l, FLY_GET, 2000000), waits[i]);
}

static void test_phases(void **state)
{
    bool reached[FLY_PHASE_COUNT] = {[FLY_PHASE_CREATE] = true};
    (void)state;
    for (int round = 0; round < FLY_PHASE_COUNT; round++)
        for (int from = 0; from < FLY_PHASE_COUNT; from++)
            for (int to = 0; to < FLY_PHASE_COUNT; to++)
                if (reached[from] && fly_edge((enum fly_phase)from, (enum fly_phase)to))
                    reached[to] = true;
    for (int p = 0; p < FLY_PHASE_COUNT; p++) {
        assert_true(reached[p]);
        assert_false(fly_edge(FLY_PHASE_GONE, (enum fly_phase)p));
        bool machine_known = p == FLY_PHASE_LEASE || p == FLY_PHASE_STARTING || p == FLY_PHASE_RUNNING;
        assert_int_equal(fly_edge((enum fly_phase)p, FLY_PHASE_GONE), !machine_known && p != FLY_PHASE_GONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_states_in_the_contract_s_words),
        cmocka_unit_test(test_exits), cmocka_unit_test(test_handles_round_trip),
        cmocka_unit_test(test_rates), cmocka_unit_test(test_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
