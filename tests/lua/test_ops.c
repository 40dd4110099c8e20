/* queue_put, queues, queue_stats, the ws_ scripts and runner_drain: settings that merge or replace, figures, bounds, and who is asked to end. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

/* ---- queues: settings ---- */

static enum err put(struct harness *h, const char *name, int64_t paused, int64_t draining, int64_t max,
                    const struct script_queue_put_reply **ret_reply)
{
    struct script_queue_put_args args = {
        .name = S(name), .paused = paused, .draining = draining, .max_waiting = max, .max_queues = 3};
    return sync_queue_put(h, &args, ret_reply);
}

static void test_a_queues_settings_merge(void **state)
{
    struct harness *h = *state;
    const struct script_queue_put_reply *is;
    harness_assert_err(put(h, "a", 1, -1, -1, &is), ERR_OK);
    assert_true(is->paused == 1 && is->draining == 0 && is->max_waiting == 0);
    harness_assert_err(put(h, "a", -1, 1, 1000000000, &is), ERR_OK);
    assert_true(is->paused == 1 && is->draining == 1 && is->max_waiting == 1000000000);
    const char *key = harness_key(h, "queue:a");
    harness_assert_hget(h, key, "paused", "1");
    harness_assert_hget(h, key, "draining", "1");
    harness_assert_hget(h, key, "maxWaiting", "1000000000");
    const char *before = rig_dump(h);
    harness_assert_err(put(h, "a", 1, 1, -1, &is), ERR_OK); /* again */
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(put(h, "a", 0, 0, -1, &is), ERR_OK); /* resumed: the bound stays */
    assert_true(is->paused == 0 && is->draining == 0 && is->max_waiting == 1000000000);
    assert_null(harness_hget(h, key, "paused"));
    harness_assert_err(put(h, "a", -1, -1, 0, &is), ERR_OK);
    assert_string_equal(harness_keys(h, harness_key(h, "*")), ""); /* without settings nothing is kept of it */
}

static void test_queues_with_settings_are_bounded(void **state)
{
    struct harness *h = *state;
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++)
        harness_assert_err(put(h, names[i], 1, -1, -1, NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_assert_err(put(h, "d", 1, -1, -1, NULL), ERR_LIMIT_EXCEEDED);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(put(h, "b", -1, 1, -1, NULL), ERR_OK); /* one that has some goes on */
    harness_assert_err(put(h, "c", 0, -1, -1, NULL), ERR_OK);
    harness_assert_err(put(h, "d", 1, -1, -1, NULL), ERR_OK);
}

static void test_pausing_works_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err queue = put(h, "a", 1, -1, -1, NULL);
    struct script_ws_put_args args = {.ws = S("w"), .max_workspaces = 3};
    enum err ws = sync_ws_put(h, &args, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(queue, ERR_OK);
    harness_assert_err(ws, ERR_OK);
}

static void test_resuming_wakes_a_runner(void **state)
{
    struct harness *h = *state;
    rig_submit(h, NULL);
    harness_do(h, "DEL %s", harness_key(h, "bell:default"));
    harness_assert_err(put(h, "default", 1, -1, -1, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "bell:default")));
    harness_assert_err(put(h, "default", 0, -1, -1, NULL), ERR_OK);
    assert_int_equal(harness_int(h, "LLEN %s", harness_key(h, "bell:default")), 1);
    harness_assert_err(put(h, "empty", 0, -1, -1, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "bell:empty")));
}

/* ---- queues: figures ---- */

static const struct script_queues_queues *row_of(const struct script_queues_reply *reply, const char *name)
{
    for (size_t i = 0; i < reply->queues_len; i++)
        if (str_eqz(reply->queues[i].name, name))
            return &reply->queues[i];
    return NULL;
}

static void test_rows_have_counts_and_settings(void **state)
{
    struct harness *h = *state;
    rig_submit(h, &(struct rig_run){.queue = "a"});
    rig_submit(h, &(struct rig_run){.queue = "a", .delay_ms = 60000});
    rig_submit(h, &(struct rig_run){.queue = "b"});
    harness_do(h, "HSET %s c 7", harness_key(h, "active"));
    harness_assert_err(put(h, "b", 1, -1, 5, NULL), ERR_OK);
    harness_assert_err(put(h, "idle", -1, 1, -1, NULL), ERR_OK);
    const struct script_queues_reply *reply;
    harness_assert_err(sync_queues(h, &(struct script_queues_args){.only = S(""), .limit = 10}, &reply), ERR_OK);
    assert_true(reply->queues_len == 4 && reply->delayed == 1);
    const struct script_queues_queues *a = row_of(reply, "a"), *b = row_of(reply, "b"), *c = row_of(reply, "c"),
                                      *idle = row_of(reply, "idle");
    assert_true(a->waiting == 1 && a->scheduled == 1 && a->running == 0 && !a->paused && !a->max_waiting);
    assert_true(b->waiting == 1 && b->paused && !b->draining && b->max_waiting == 5);
    assert_true(c->running == 7 && c->waiting == 0);
    assert_true(idle->waiting == 0 && idle->draining && !idle->paused);
    harness_assert_err(sync_queues(h, &(struct script_queues_args){.only = S("b"), .limit = 10}, &reply), ERR_OK);
    assert_true(reply->queues_len == 1 && reply->queues[0].waiting == 1 && reply->queues[0].max_waiting == 5);
    harness_assert_err(sync_queues(h, &(struct script_queues_args){.only = S("none"), .limit = 10}, &reply), ERR_OK);
    assert_true(reply->queues_len == 1 && str_eqz(reply->queues[0].name, "none") && reply->queues[0].waiting == 0);
}

/* Of more queues than rows, those that are shown have all of their counts. */
static void test_rows_are_bounded(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 2000; i++) {
        harness_do(h, "HSET %s q%d %d", harness_key(h, "queued"), i, i + 1);
        harness_do(h, "HSET %s q%d %d", harness_key(h, "active"), i, i + 2);
    }
    const struct script_queues_reply *reply;
    harness_assert_err(sync_queues(h, &(struct script_queues_args){.only = S(""), .limit = 1000}, &reply), ERR_OK);
    assert_int_equal(reply->queues_len, 1000);
    for (size_t i = 0; i < reply->queues_len; i++) {
        int64_t n = strtoll(harness_printf(h, "%.*s", STR_ARG(reply->queues[i].name)) + 1, NULL, 10);
        assert_true(reply->queues[i].waiting == n + 1 && reply->queues[i].running == n + 2);
    }
}

static const struct script_queue_stats_reply *stats_of(struct harness *h, const struct str *names, size_t n)
{
    const struct script_queue_stats_reply *reply;
    struct script_queue_stats_args args = {.names = names, .names_len = n, .minutes = 5};
    harness_assert_err(sync_queue_stats(h, &args, &reply), ERR_OK);
    return reply;
}

/* A lane with one run that waits since then. */
static void lane(struct harness *h, const char *queue, const char *req, const char *ws, const char *prio, int64_t ms)
{
    bool again = strcmp(prio, "again") == 0;
    harness_do(h, "HINCRBY %s %s 1", harness_key(h, "queued"), queue);
    harness_do(h, "ZADD %s %d %s", harness_key(h, "lanes:%s:%s", queue, req), again ? -1 : 1,
               harness_printf(h, "%s%s", again ? "!" : "", ws));
    if (!again)
        harness_do(h, "ZADD %s 1 %s", harness_key(h, "prios:%s:%s:%s", queue, req, ws), prio);
    harness_do(h, "XADD %s %s r run", harness_key(h, "lane:%s:%s:%s:%s", queue, req, ws, prio),
               harness_printf(h, "%lld-0", (long long)ms));
}

static void test_the_oldest_over_all_lanes(void **state)
{
    struct harness *h = *state;
    lane(h, "a", "-", "w1", "normal", 5000);
    lane(h, "a", "-", "w1", "low", 4000);
    lane(h, "a", "-", "w2", "high", 6000);
    lane(h, "b", "-", "w1", "high", 9000);
    lane(h, "b", "-", "w1", "again", 8000);
    lane(h, "c", "0123456789abcdef", "w3", "high", 7000);
    harness_do(h, "HSET %s 0123456789abcdef {} # 3", harness_key(h, "reqs"));
    const struct str names[] = {S("a"), S("b"), S("c"), S("d")};
    const struct script_queue_stats_reply *reply = stats_of(h, names, 4);
    static const int64_t wanted[] = {4000, 8000, 7000, 0};
    assert_int_equal(reply->stats_len, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(reply->stats[i].oldest_ms, wanted[i]);
    assert_true(llabs(reply->now_ms - harness_now_ms(h)) < 10000);
}

static void test_the_oldest_of_a_run_that_was_submitted(void **state)
{
    struct harness *h = *state;
    int64_t before = harness_now_ms(h);
    rig_submit(h, &(struct rig_run){.priority = "low"});
    int64_t after = harness_now_ms(h);
    rig_submit(h, &(struct rig_run){.priority = "high"});
    const struct script_queue_stats_reply *reply = stats_of(h, (const struct str[]){S("default")}, 1);
    assert_true(reply->stats[0].oldest_ms >= before && reply->stats[0].oldest_ms <= after);
}

/* As the ends of runs count them: lua/include/close.lua. */
static void minute(struct harness *h, int64_t at, int success, int error, int stopped, int ms)
{
    int counts[] = {success, error, stopped};
    static const char *const names[] = {"success", "error", "stopped"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (counts[i] > 0)
            harness_do(h, "HSET %s %s %d%012d", harness_key(h, "tput:a:%lld", (long long)at), names[i], counts[i],
                       i == 0 ? ms : 0);
    }
}

static void test_the_last_minutes(void **state)
{
    struct harness *h = *state;
    int64_t now = harness_now_ms(h) / 60000;
    minute(h, now, 1, 0, 0, 10);
    harness_do(h, "HINCRBY %s success 1%012d", harness_key(h, "tput:a:%lld", (long long)now),
               5); /* a second one, as its end says it */
    minute(h, now - 3, 20, 1, 0, 200);
    minute(h, now - 4, 0, 0, 2, 0);
    minute(h, now - 8, 5000, 5000, 5000, 50000); /* too long ago, also when the minute changes meanwhile */
    const struct script_queue_stats_reply *reply = stats_of(h, (const struct str[]){S("x"), S("a")}, 2);
    const struct script_queue_stats_stats *x = &reply->stats[0], *a = &reply->stats[1];
    assert_true(x->success == 0 && x->error == 0 && x->stopped == 0 && x->ms == 0);
    assert_true(a->success == 22 && a->error == 1 && a->stopped == 2 && a->ms == 215);
}

/* Many lanes: a call answers for some queues, at least one, and a second goes on. */
static void test_figures_are_bounded_work(void **state)
{
    struct harness *h = *state;
    struct str names[8];
    for (int q = 0; q < 8; q++) {
        names[q] = S(harness_printf(h, "q%d", q));
        for (int w = 0; w < 250; w++)
            lane(h, names[q].ptr, "-", harness_printf(h, "w%03d", w), "normal", 1000 + w);
    }
    size_t done = 0, calls = 0;
    while (done < 8) {
        const struct script_queue_stats_reply *reply = stats_of(h, names + done, 8 - done);
        assert_in_range(reply->stats_len, 1, 7);
        for (size_t i = 0; i < reply->stats_len; i++)
            assert_int_equal(reply->stats[i].oldest_ms, 1000);
        done += reply->stats_len;
        calls++;
    }
    assert_in_range(calls, 2, 8);
}

/* ---- workspaces ---- */

static enum err ws_put(struct harness *h, const char *ws, int64_t concurrency, const char *weight,
                       const struct script_ws_put_reply **ret_reply)
{
    const struct str fields[] = {S("weight"), S(weight), S("concurrency"),
                                 S(harness_printf(h, "%lld", (long long)concurrency))};
    struct script_ws_put_args args = {.ws = S(ws),
                                      .concurrency = concurrency,
                                      .max_workspaces = 3,
                                      .fields = fields,
                                      .fields_len = concurrency ? 4 : 2};
    return sync_ws_put(h, &args, ret_reply);
}

static void test_a_workspaces_settings_are_replaced(void **state)
{
    struct harness *h = *state;
    const struct script_ws_put_reply *is;
    const struct script_ws_get_reply *got;
    struct script_ws_get_args get = {.ws = S("w")};
    harness_assert_err(sync_ws_get(h, &get, &got), ERR_OK);
    assert_true(got->info->elements == 0 && got->waiting == 0 && got->bytes == 0);
    harness_assert_err(ws_put(h, "w", 5, "2", &is), ERR_OK);
    assert_true(is->waiting == 0 && str_eqz(redis_str(redis_field(is->info, "weight")), "2"));
    harness_assert_hget(h, harness_key(h, "limits:w"), "w", "5");
    const char *created = harness_hget(h, harness_key(h, "ws:w"), "created");
    assert_true(llabs(strtoll(created, NULL, 10) - harness_now_ms(h)) < 10000);
    harness_do(h, "HSET %s created 77", harness_key(h, "ws:w"));
    harness_assert_err(ws_put(h, "w", 0, "9", &is), ERR_OK);
    harness_assert_hget(h, harness_key(h, "ws:w"), "created", "77"); /* it is still the same one */
    harness_assert_hget(h, harness_key(h, "ws:w"), "weight", "9");
    assert_null(harness_hget(h, harness_key(h, "ws:w"), "concurrency"));
    assert_false(harness_exists(h, harness_key(h, "limits:w")));
    harness_do(h, "HSET %s waiting 3 bytes 400", harness_key(h, "use:w"));
    const char *before = rig_dump(h);
    harness_assert_err(ws_put(h, "w", 0, "9", &is), ERR_OK);
    assert_true(is->waiting == 3 && is->bytes == 400);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(sync_ws_get(h, &get, &got), ERR_OK);
    assert_true(got->info->elements == 4 && got->waiting == 3 && got->bytes == 400);
}

static int64_t parked(struct harness *h)
{
    return harness_int(h, "ZCARD %s", harness_key(h, "wait:w:w"));
}

static void test_a_bound_that_changes_lets_in_who_waits(void **state)
{
    struct harness *h = *state;
    const char *runs[6];
    harness_assert_err(ws_put(h, "w", 1, "1", NULL), ERR_OK);
    for (size_t i = 0; i < 6; i++)
        runs[i] = rig_submit(h, &(struct rig_run){.ws = "w", .delay_ms = i == 5 ? 60000 : 0});
    assert_int_equal(parked(h), 4);
    harness_assert_err(ws_put(h, "w", 3, "1", NULL), ERR_OK);
    assert_int_equal(parked(h), 2);
    harness_assert_err(ws_put(h, "w", 2, "1", NULL), ERR_OK); /* nobody is sent back */
    assert_int_equal(parked(h), 2);
    harness_assert_err(sync_ws_delete(h, &(struct script_ws_delete_args){.ws = S("w")}, NULL), ERR_OK);
    assert_int_equal(parked(h), 0);
    audit_due(h, runs[5]); /* it took the old number along, which counts no more */
    struct script_promote_args promote = {.max = 10, .rid = S(RID), .retention_ms = RETAIN};
    harness_assert_err(sync_promote(h, &promote, NULL), ERR_OK);
    assert_int_equal(parked(h), 0);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "gate:w:w")), 6);
    for (size_t i = 0; i < 6; i++) {
        struct script_stop_args stop = {
            .ws = S("w"), .run = S(runs[i]), .max = 10, .rid = S(RID), .retention_ms = RETAIN};
        harness_assert_err(sync_stop(h, &stop, NULL), ERR_OK);
    }
    harness_assert_err(sync_ws_delete(h, &(struct script_ws_delete_args){.ws = S("w")}, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "limits:w"))); /* nobody carries one any more */
}

/* More than one call lets in: promote goes on. */
static void test_many_that_wait_are_let_in_step_by_step(void **state)
{
    struct harness *h = *state;
    harness_assert_err(ws_put(h, "w", 1, "1", NULL), ERR_OK);
    for (int i = 0; i < 251; i++)
        rig_submit(h, &(struct rig_run){.ws = "w"});
    assert_int_equal(parked(h), 250);
    harness_assert_err(ws_put(h, "w", 240, "1", NULL), ERR_OK);
    assert_int_equal(parked(h), 150);
    struct script_promote_args promote = {.max = 100, .rid = S(RID), .retention_ms = RETAIN};
    for (int i = 0; i < 3; i++)
        harness_assert_err(sync_promote(h, &promote, NULL), ERR_OK);
    assert_int_equal(parked(h), 11);
    assert_int_equal(harness_int(h, "ZCARD %s", harness_key(h, "throttled")), 0);
}

static void test_a_limit_of_another_gate_stays(void **state)
{
    struct harness *h = *state;
    harness_do(h, "HSET %s a:x 3", harness_key(h, "limits:w"));
    harness_assert_err(ws_put(h, "w", 5, "2", NULL), ERR_OK);
    struct script_ws_delete_args args = {.ws = S("w")};
    for (int i = 0; i < 2; i++)
        harness_assert_err(sync_ws_delete(h, &args, NULL), ERR_OK);
    assert_string_equal(harness_keys(h, harness_key(h, "*")), harness_printf(h, "%s\n", harness_key(h, "limits:w")));
    harness_assert_hget(h, harness_key(h, "limits:w"), "a:x", "3");
}

static void test_workspaces_by_name_in_pages(void **state)
{
    struct harness *h = *state;
    static const char *const names[] = {"c", "a", "b"};
    for (size_t i = 0; i < 3; i++)
        harness_assert_err(ws_put(h, names[i], 0, "2", NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_assert_err(ws_put(h, "d", 0, "2", NULL), ERR_LIMIT_EXCEEDED);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(ws_put(h, "a", 0, "3", NULL), ERR_OK);
    const struct script_ws_list_reply *page;
    struct script_ws_list_args args = {.after = S(""), .limit = 2};
    harness_assert_err(sync_ws_list(h, &args, &page), ERR_OK);
    assert_true(page->workspaces_len == 2 && page->more == 1 && str_eqz(page->workspaces[0].name, "a") &&
                str_eqz(page->workspaces[1].name, "b"));
    assert_string_equal(redis_field(page->workspaces[0].info, "weight")->str, "3");
    args.after = S("b");
    harness_assert_err(sync_ws_list(h, &args, &page), ERR_OK);
    assert_true(page->workspaces_len == 1 && page->more == 0 && str_eqz(page->workspaces[0].name, "c"));
}

/* ---- runners ---- */

static int64_t drain(struct harness *h, const char *id)
{
    const struct script_runner_drain_reply *reply;
    harness_assert_err(sync_runner_drain(h, &(struct script_runner_drain_args){.id = S(id), .limit = 100}, &reply),
                       ERR_OK);
    return reply->found;
}

static void test_runners_are_asked_to_end(void **state)
{
    struct harness *h = *state;
    static const char *const runners[] = {"r1", "r2", "r3"};
    for (size_t i = 0; i < 3; i++)
        rig_register(h, runners[i]);
    harness_do(h, "HSET %s name host", harness_key(h, "runner:r2"));
    harness_do(h, "HSET %s name host", harness_key(h, "runner:r3"));
    redisContext *ear = audit_listen(h, "ctl:*");
    assert_int_equal(drain(h, "r1"), 1);
    assert_string_equal(audit_heard(h, ear), "ctl:r1 drain\n");
    harness_assert_hget(h, harness_key(h, "runner:r1"), "drain", "1");
    assert_null(harness_hget(h, harness_key(h, "runner:r2"), "drain"));
    assert_int_equal(drain(h, "host"), 2); /* both of that name */
    harness_assert_hget(h, harness_key(h, "runner:r2"), "drain", "1");
    harness_assert_hget(h, harness_key(h, "runner:r3"), "drain", "1");
    ear = audit_listen(h, "ctl:*");
    const char *before = rig_dump(h);
    assert_int_equal(drain(h, "r1"), 1); /* again: the message may have been lost */
    assert_string_equal(rig_dump(h), before);
    assert_string_equal(audit_heard(h, ear), "ctl:r1 drain\n");
}

static void test_nobody_else_is_asked(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_register(h, "dead");
    harness_do(h, "HSET %s state dead", harness_key(h, "runner:dead"));
    const char *before = rig_dump(h);
    assert_int_equal(drain(h, "nobody"), 0);
    assert_int_equal(drain(h, "dead"), 0);
    assert_int_equal(drain(h, ""), 0);
    assert_string_equal(rig_dump(h), before);
}

static void test_figures_write_nothing(void **state)
{
    struct harness *h = *state;
    rig_submit(h, NULL);
    const struct str names[] = {S("default")};
    struct script_queue_stats_args stats = {.names = names, .names_len = 1, .minutes = 5};
    struct script_ws_list_args list = {.after = S(""), .limit = 10};
    audit_refuses(h, sync_queue_stats(h, &stats, NULL), ERR_OK);
    audit_refuses(h, sync_ws_list(h, &list, NULL), ERR_OK);
    audit_refuses(h, sync_ws_get(h, &(struct script_ws_get_args){.ws = S("default")}, NULL), ERR_OK);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_queues_settings_merge),
        TEST(test_queues_with_settings_are_bounded),
        TEST(test_pausing_works_while_redis_is_full),
        TEST(test_resuming_wakes_a_runner),
        TEST(test_rows_have_counts_and_settings),
        TEST(test_rows_are_bounded),
        TEST(test_the_oldest_over_all_lanes),
        TEST(test_the_oldest_of_a_run_that_was_submitted),
        TEST(test_the_last_minutes),
        TEST(test_figures_are_bounded_work),
        TEST(test_a_workspaces_settings_are_replaced),
        TEST(test_a_bound_that_changes_lets_in_who_waits),
        TEST(test_many_that_wait_are_let_in_step_by_step),
        TEST(test_a_limit_of_another_gate_stays),
        TEST(test_workspaces_by_name_in_pages),
        TEST(test_runners_are_asked_to_end),
        TEST(test_nobody_else_is_asked),
        TEST(test_figures_write_nothing),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
