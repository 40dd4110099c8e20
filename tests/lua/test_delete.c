/* delete and sweep: what is removed leaves no key, cuts its readers, and takes nothing along that others use. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static enum err delete_run(struct harness *h, const char *ws, const char *run)
{
    return sync_delete(h, &(struct script_delete_args){.ws = S(ws), .run = S(run)}, NULL);
}

static const struct script_sweep_reply *sweep(struct harness *h, int64_t max)
{
    const struct script_sweep_reply *reply;
    harness_assert_err(sync_sweep(h, &(struct script_sweep_args){.max = max}, &reply), ERR_OK);
    return reply;
}

/* A run that has everything that a run can have, and its end. */
static const char *ended(struct harness *h, const struct rig_run *o)
{
    const struct script_claim_runs *row = audit_running(h, "r1", o);
    harness_assert_err(
        sync_logs(h, &(struct script_logs_args){.run = row->run, .epoch = row->epoch, .lines = S("[1]")}, NULL),
        ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    return audit_id(h, row);
}

static void expire(struct harness *h, const char *run)
{
    harness_do(h, "ZADD %s XX 1 %s", harness_key(h, "retain"), run);
}

static void test_nothing_is_left_of_a_run(void **state)
{
    struct harness *h = *state;
    for (int way = 0; way < 2; way++) {
        const char *run = ended(h, &(struct rig_run){.idem_key = "k"});
        redisContext *ear = audit_listen(h, "*");
        if (way == 0) {
            harness_assert_err(delete_run(h, "default", run), ERR_OK);
        } else {
            expire(h, run);
            assert_int_equal(sweep(h, 10)->swept, 1);
        }
        assert_string_equal(audit_heard(h, ear), harness_printf(h, "run:%s:wake gone\n", run));
        audit_nothing_left(h);
        assert_string_equal(rig_submit(h, &(struct rig_run){.idem_key = "k"}), run); /* its key is answered still */
        harness_do(h, "DEL %s", harness_key(h, "idem:default:k"));
    }
}

static void test_who_is_refused(void **state)
{
    struct harness *h = *state;
    const char *over = ended(h, NULL);
    audit_refuses(h, delete_run(h, "other", over), ERR_RUN_NOT_FOUND);
    audit_refuses(h, delete_run(h, "default", NOBODY), ERR_RUN_NOT_FOUND);
    const struct script_claim_runs *row = audit_claimed(h, "r1", NULL);
    audit_refuses(h, delete_run(h, "default", audit_id(h, row)), ERR_RUN_ACTIVE); /* provisioning */
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    audit_refuses(h, delete_run(h, "default", audit_id(h, row)), ERR_RUN_ACTIVE); /* running */
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    audit_refuses(h, delete_run(h, "default", audit_id(h, row)), ERR_RUN_ACTIVE); /* stopping */
    const char *queued = rig_submit(h, NULL), *delayed = rig_submit(h, &(struct rig_run){.delay_ms = 60000});
    audit_refuses(h, delete_run(h, "default", queued), ERR_RUN_ACTIVE);
    audit_refuses(h, delete_run(h, "default", delayed), ERR_RUN_ACTIVE);
    audit_refuses(h, delete_run(h, "other", queued), ERR_RUN_NOT_FOUND); /* another workspace learns nothing */
    harness_assert_err(delete_run(h, "default", over), ERR_OK);
    audit_refuses(h, delete_run(h, "default", over), ERR_RUN_NOT_FOUND);
    audit_check(h);
}

static void test_parents_and_children_go_in_any_order(void **state)
{
    struct harness *h = *state;
    const char *parent = ended(h, NULL), *one = ended(h, &(struct rig_run){.parent = parent}),
               *two = ended(h, &(struct rig_run){.parent = parent});
    harness_assert_err(delete_run(h, "default", one), ERR_OK);
    audit_check(h);
    harness_assert_err(delete_run(h, "default", parent), ERR_OK);
    audit_check(h);
    rig_assert_status(h, two, "success");
    harness_assert_err(delete_run(h, "default", two), ERR_OK);
    audit_nothing_left(h);
}

/* Stop means the whole tree, however large: that its root is removed before the last steps changes nothing. */
static void stopped_in_spite_of(struct harness *h, void (*remove_root)(struct harness *h, const char *root))
{
    const char *root = rig_submit(h, NULL), *runs[12];
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        runs[i] = rig_submit(h, &(struct rig_run){.parent = i < 6 ? root : runs[i - 6]});
    struct script_stop_args args = {
        .ws = S("default"), .run = S(root), .max = 2, .rid = S(RID), .retention_ms = RETAIN};
    harness_assert_err(sync_stop(h, &args, NULL), ERR_OK);
    assert_true(harness_exists(h, harness_key(h, "stopq"))); /* it goes on in reap */
    remove_root(h, root);
    assert_false(harness_exists(h, harness_key(h, "run:%s", root)));
    for (int steps = 0; rig_reap(h, 2)->more; steps++)
        assert_true(steps < 60);
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        rig_assert_status(h, runs[i], "stopped");
    audit_check(h);
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        harness_assert_err(delete_run(h, "default", runs[i]), ERR_OK);
    audit_nothing_left(h);
}

static void by_delete(struct harness *h, const char *root)
{
    harness_assert_err(delete_run(h, "default", root), ERR_OK);
}

static void by_sweep(struct harness *h, const char *root)
{
    expire(h, root);
    assert_int_equal(sweep(h, 1)->swept, 1);
}

static void test_deleting_a_root_does_not_end_the_stop_of_its_tree(void **state)
{
    stopped_in_spite_of(*state, by_delete);
}

static void test_sweeping_a_root_does_not_end_the_stop_of_its_tree(void **state)
{
    stopped_in_spite_of(*state, by_sweep);
}

static void test_sweep_is_bounded_and_takes_only_what_is_over(void **state)
{
    struct harness *h = *state;
    const char *fresh = ended(h, NULL);
    for (int i = 0; i < 5; i++)
        expire(h, ended(h, NULL));
    harness_do(h, "ZADD %s 1 %s", harness_key(h, "retain"), NOBODY); /* and one that is gone already */
    static const int64_t swept[] = {2, 2, 2, 0};
    for (size_t i = 0; i < ARRAY_LEN(swept); i++) {
        const struct script_sweep_reply *reply = sweep(h, 2);
        assert_int_equal(reply->swept, swept[i]);
        assert_int_equal(reply->more, i < 3);
    }
    rig_assert_status(h, fresh, "success");
    audit_check(h);
}

static void test_definitions_stay_while_somebody_uses_them(void **state)
{
    struct harness *h = *state;
    const char *one = ended(h, NULL), *two = ended(h, NULL), *def = rig_field(h, one, "def");
    harness_assert_err(delete_run(h, "default", one), ERR_OK);
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:%s", def)), 1);
    assert_string_equal(harness_hget(h, harness_key(h, "def:%s", def), "json"), "{\"name\":\"t\"}");
    harness_assert_err(delete_run(h, "default", two), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "def:%s", def)));
}

static void test_both_make_room_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    const char *one = ended(h, NULL), *two = ended(h, NULL);
    expire(h, two);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err deleted = delete_run(h, "default", one);
    enum err swept = sync_sweep(h, &(struct script_sweep_args){.max = 1}, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(deleted, ERR_OK);
    harness_assert_err(swept, ERR_OK);
    audit_nothing_left(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_left_of_a_run),
        TEST(test_who_is_refused),
        TEST(test_parents_and_children_go_in_any_order),
        TEST(test_deleting_a_root_does_not_end_the_stop_of_its_tree),
        TEST(test_sweeping_a_root_does_not_end_the_stop_of_its_tree),
        TEST(test_sweep_is_bounded_and_takes_only_what_is_over),
        TEST(test_definitions_stay_while_somebody_uses_them),
        TEST(test_both_make_room_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
