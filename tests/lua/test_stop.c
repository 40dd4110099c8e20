/* stop, delete and sweep: whole trees, each once, and nothing is left. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static void test_what_waits_ends_at_once(void **state)
{
    struct harness *h = *state;
    const char *queued = rig_submit(h, NULL), *delayed = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    const char *const runs[] = {queued, delayed};
    for (size_t i = 0; i < 2; i++) {
        harness_assert_err(rig_stop(h, runs[i]), ERR_OK);
        rig_assert_status(h, runs[i], "stopped");
        assert_string_equal(rig_kinds(h, runs[i]), "runtime_terminal ");
        const redisReply *entries = harness_xrange(h, harness_key(h, "run:%s:events", runs[i]));
        assert_string_equal(harness_entry(h, entries, 0, "first"), "1");
        assert_non_null(strstr(harness_entry(h, entries, 0, "b"), "\"attempt\":0"));
    }
    rig_register(h, "r1");
    assert_int_equal(rig_claim(h, "r1", 1, 8)->runs_len, 0); /* it never starts */
    audit_check(h);
}

static void test_stopping_twice(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    const char *before = rig_dump(h);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    assert_string_equal(rig_dump(h), before);
    const struct script_finish_reply *end;
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, &end), ERR_OK); /* a stop overrides a claimed success */
    assert_true(str_eqz(end->status, "stopped"));
    assert_string_equal(rig_field(h, run, "result"), "");
    before = rig_dump(h);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    assert_string_equal(rig_dump(h), before);
    audit_check(h);
}

static void test_a_failure_that_was_stopped_is_not_tried_again(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, &(struct rig_run){.max_attempts = 5});
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "error", 0, NULL), ERR_OK);
    rig_assert_status(h, run, "stopped");
}

static void test_somebody_elses_run(void **state)
{
    struct harness *h = *state;
    const char *run = rig_submit(h, &(struct rig_run){.ws = "other"}), *before = rig_dump(h);
    harness_assert_err(rig_stop(h, run), ERR_RUN_NOT_FOUND);
    harness_assert_err(rig_stop(h, "00000000-0000-4000-8000-000000000000"), ERR_RUN_NOT_FOUND);
    assert_string_equal(rig_dump(h), before);
}

static void test_a_tree(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *root = rig_submit(h, NULL), *child = rig_submit(h, &(struct rig_run){.parent = root}),
               *grandchild = rig_submit(h, &(struct rig_run){.parent = child, .delay_ms = 60000}),
               *second = rig_submit(h, &(struct rig_run){.parent = root}), *bystander = rig_submit(h, NULL);
    rig_execute(h, "r1", 1);
    rig_execute(h, "r1", 2);
    harness_assert_err(rig_stop(h, root), ERR_OK);
    rig_assert_status(h, root, "stopping");
    rig_assert_status(h, child, "stopping");
    rig_assert_status(h, grandchild, "stopped");
    rig_assert_status(h, second, "stopped");
    rig_assert_status(h, bystander, "queued");
    assert_false(harness_exists(h, harness_key(h, "stopq")));
    audit_check(h);
}

/* A tree larger than one step: reap goes on with it. */
static void test_children_of_a_run_that_has_ended(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *parent = rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    const char *child = rig_submit(h, &(struct rig_run){.parent = parent});
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    harness_assert_err(rig_stop(h, parent), ERR_OK);
    rig_assert_status(h, parent, "success");
    assert_string_equal(rig_field(h, parent, "stopAt"), "");
    rig_assert_status(h, child, "stopped");
    audit_check(h);
}

static void test_a_large_tree_is_stopped_in_steps(void **state)
{
    struct harness *h = *state;
    const char *root = rig_submit(h, NULL), *runs[40];
    for (size_t i = 0; i < 40; i++)
        runs[i] = rig_submit(h, &(struct rig_run){.parent = i < 20 ? root : runs[i - 20]});
    struct script_stop_args args = {
        .ws = S("default"), .run = S(root), .max = 5, .rid = S(RID), .retention_ms = RETAIN};
    harness_assert_err(sync_stop(h, &args, NULL), ERR_OK);
    assert_true(harness_exists(h, harness_key(h, "stopq")));
    int steps = 0;
    while (rig_reap(h, 5)->more)
        assert_true(++steps < 60);
    assert_true(steps > 5);
    for (size_t i = 0; i < 40; i++)
        rig_assert_status(h, runs[i], "stopped");
    assert_false(harness_exists(h, harness_key(h, "stopq")));
    audit_check(h);
}

/* ---- delete and sweep ---- */

static const char *ended(struct harness *h, int64_t number, const char *parent)
{
    const char *run = rig_submit(h, &(struct rig_run){.parent = parent});
    const struct script_claim_runs *row = rig_execute(h, "r1", number);
    assert_true(str_eqz(row->run, run));
    struct script_logs_args logs = {.run = row->run, .epoch = row->epoch, .lines = S("[]")};
    harness_assert_err(sync_logs(h, &logs, NULL), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    return run;
}

static void assert_nothing_of(struct harness *h, const char *run)
{
    assert_null(strstr(rig_dump(h), run));
}

static void test_delete_leaves_nothing(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = ended(h, 1, NULL), *child = ended(h, 2, run), *active = rig_submit(h, NULL);
    struct script_delete_args args = {.ws = S("default"), .run = S(active)};
    const char *before = rig_dump(h);
    harness_assert_err(sync_delete(h, &args, NULL), ERR_RUN_ACTIVE);
    args.run = S("00000000-0000-4000-8000-000000000000");
    harness_assert_err(sync_delete(h, &args, NULL), ERR_RUN_NOT_FOUND);
    args = (struct script_delete_args){.ws = S("other"), .run = S(run)};
    harness_assert_err(sync_delete(h, &args, NULL), ERR_RUN_NOT_FOUND);
    assert_string_equal(rig_dump(h), before);
    args = (struct script_delete_args){.ws = S("default"), .run = S(child)};
    harness_assert_err(sync_delete(h, &args, NULL), ERR_OK);
    assert_nothing_of(h, child);
    args.run = S(run);
    harness_assert_err(sync_delete(h, &args, NULL), ERR_OK);
    assert_nothing_of(h, run);
    harness_assert_err(sync_delete(h, &args, NULL), ERR_RUN_NOT_FOUND);
    harness_assert_err(rig_stop(h, active), ERR_OK);
    args.run = S(active);
    harness_assert_err(sync_delete(h, &args, NULL), ERR_OK);
    assert_string_equal(harness_keys(h, harness_key(h, "def:*")), ""); /* the last one's definition went with it */
    audit_check(h);
}

static void test_sweep_takes_what_is_over_its_retention(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *old[3], *fresh = ended(h, 1, NULL);
    for (int i = 0; i < 3; i++) {
        old[i] = ended(h, i + 2, NULL);
        harness_do(h, "ZADD %s 1 %s", harness_key(h, "retain"), old[i]);
    }
    struct script_sweep_args args = {.max = 2};
    const struct script_sweep_reply *reply;
    harness_assert_err(sync_sweep(h, &args, &reply), ERR_OK);
    assert_true(reply->swept == 2 && reply->more == 1);
    harness_assert_err(sync_sweep(h, &args, &reply), ERR_OK);
    assert_true(reply->swept == 1 && reply->more == 0);
    for (int i = 0; i < 3; i++)
        assert_nothing_of(h, old[i]);
    rig_assert_status(h, fresh, "success");
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_waits_ends_at_once),
        TEST(test_stopping_twice),
        TEST(test_a_failure_that_was_stopped_is_not_tried_again),
        TEST(test_somebody_elses_run),
        TEST(test_a_tree),
        TEST(test_children_of_a_run_that_has_ended),
        TEST(test_a_large_tree_is_stopped_in_steps),
        TEST(test_delete_leaves_nothing),
        TEST(test_sweep_takes_what_is_over_its_retention),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
