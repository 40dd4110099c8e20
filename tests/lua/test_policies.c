/* What a run asks for beyond being executed: dependencies, a time to start within, retries by class, requirements, slots, retention; and what is said of runs that nobody can serve. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static const struct script_promote_reply *promote(struct harness *h, int64_t max)
{
    const struct script_promote_reply *reply;
    harness_assert_err(
        sync_promote(h, &(struct script_promote_args){.max = max, .rid = S(RID), .retention_ms = RETAIN}, &reply),
        ERR_OK);
    return reply;
}

static void register_as(struct harness *h, const char *inc, const char *slots, const char *tags, const char *queues)
{
    const struct str fields[] = {S("name"), S(inc),      S("slots"), S(slots),       S("tags"),
                                 S(tags),   S("queues"), S(queues),  S("executors"), S("process")};
    struct script_register_args args = {
        .inc = S(inc), .fields = fields, .fields_len = ARRAY_LEN(fields), .lease_ms = LEASE};
    harness_assert_err(sync_register(h, &args, NULL), ERR_OK);
}

static const struct script_claim_runs *next(struct harness *h, const char *inc, int64_t max)
{
    static int64_t number = 5000;
    const struct script_claim_reply *reply = rig_claim(h, inc, ++number, max);
    return reply->runs_len ? &reply->runs[0] : NULL;
}

static void end(struct harness *h, const struct script_claim_runs *row, const char *status)
{
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, status, 0, NULL), ERR_OK);
}

/* ---- dependencies ---- */

static void test_a_run_waits_for_those_it_depends_on(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *a = rig_submit(h, NULL), *b = rig_submit(h, NULL),
               *after = rig_submit(h, &(struct rig_run){.depends = {a, b}});
    rig_assert_status(h, after, "scheduled");
    audit_check(h);
    end(h, next(h, "r1", 1), "success");
    promote(h, 10);
    rig_assert_status(h, after, "scheduled");
    audit_check(h);
    end(h, next(h, "r1", 1), "success");
    promote(h, 10);
    rig_assert_status(h, after, "queued");
    audit_check(h);
    const struct script_claim_runs *row = next(h, "r1", 1);
    assert_true(str_eqz(row->run, after));
    assert_string_equal(harness_printf(h, "%.*s", STR_ARG(row->dependencies)),
                        harness_printf(h,
                                       "[{\"runId\":\"%s\",\"status\":\"success\",\"result\":42},{\"runId\":\"%s\","
                                       "\"status\":\"success\",\"result\":42}]",
                                       a, b));
    assert_string_equal(harness_keys(h, harness_key(h, "run:*:dependents")), "");
    assert_false(harness_exists(h, harness_key(h, "depq")));
    audit_check(h);
}

static void test_a_dependency_that_fails(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *a = rig_submit(h, NULL), *b = rig_submit(h, NULL),
               *fails = rig_submit(h, &(struct rig_run){.depends = {a, b}}),
               *next_one = rig_submit(h, &(struct rig_run){.depends = {fails}}),
               *runs = rig_submit(h, &(struct rig_run){.depends = {a}, .on_dep_fail = "run"});
    end(h, next(h, "r1", 1), "error");
    promote(h, 100);
    promote(h, 100);
    rig_assert_status(h, fails, "error"); /* though b goes on */
    rig_assert_status(h, next_one, "error");
    rig_assert_status(h, runs, "queued");
    assert_non_null(strstr(rig_field(h, fails, "error"), a));
    audit_check(h);
    const char *late = rig_submit(h, &(struct rig_run){.depends = {a}}); /* it has ended already */
    rig_assert_status(h, late, "error");
    assert_string_equal(rig_kinds(h, late), "runtime_terminal ");
    const char *late_run = rig_submit(h, &(struct rig_run){.depends = {a}, .on_dep_fail = "run"});
    rig_assert_status(h, late_run, "queued");
    harness_assert_err(rig_stop(h, b), ERR_OK);
    audit_check(h);
}

static void test_dependents_and_stops(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *a = rig_submit(h, NULL), *after = rig_submit(h, &(struct rig_run){.depends = {a}}),
               *then = rig_submit(h, &(struct rig_run){.depends = {after}, .on_dep_fail = "run"});
    harness_assert_err(rig_stop(h, after), ERR_OK);
    rig_assert_status(h, after, "stopped");
    audit_check(h);
    promote(h, 100);
    rig_assert_status(h, then, "queued");
    end(h, next(h, "r1", 1), "success");
    promote(h, 100);
    rig_assert_status(h, after, "stopped");
    audit_check(h);
}

static void test_dependents_are_told_in_bounded_steps(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *a = rig_submit(h, NULL);
    for (int i = 0; i < 250; i++)
        rig_submit(h, &(struct rig_run){.depends = {a}});
    end(h, next(h, "r1", 1), "success");
    int steps = 0;
    while (promote(h, 100)->next_ms == 0 && steps < 10) {
        audit_check(h);
        steps++;
    }
    assert_in_range(steps, 2, 4);
    assert_int_equal(harness_int(h, "HGET %s default", harness_key(h, "queued")), 250);
    audit_check(h);
}

static void test_dependencies_that_are_refused(void **state)
{
    struct harness *h = *state;
    enum err err;
    rig_register(h, "r1");
    const char *root = rig_submit(h, NULL), *foreign = rig_submit(h, &(struct rig_run){.ws = "other"}),
               *between = rig_submit(h, &(struct rig_run){.depends = {root}}), *before = rig_dump(h);
    const struct {
        struct rig_run run;
        enum err err;
    } refused[] = {{{.depends = {"00000000-0000-4000-8000-000000000000"}}, ERR_DEPENDENCY_NOT_FOUND},
                   {{.depends = {foreign}}, ERR_DEPENDENCY_NOT_FOUND},
                   {{.depends = {root}, .parent = root}, ERR_DEPENDENCY_CYCLE},
                   {{.depends = {between}, .parent = root}, ERR_DEPENDENCY_CYCLE}};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        assert_null(rig_try_submit(h, &refused[i].run, &err));
        harness_assert_err(err, refused[i].err);
        assert_string_equal(rig_dump(h), before);
    }
    rig_submit(h, &(struct rig_run){.depends = {between}});
    audit_check(h);
}

/* ---- expiry ---- */

static void test_what_does_not_start_in_time_ends(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const struct rig_run soon = {.start_within_ms = 60000};
    const char *waits = rig_submit(h, &soon), *starts = NULL, *parked;
    rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"});
    parked = rig_submit(h, &(struct rig_run){.start_within_ms = 60000, .key_gate = "k:x=1"});
    const char *depends = rig_submit(h, &(struct rig_run){.start_within_ms = 60000, .depends = {parked}});
    assert_in_range(promote(h, 10)->next_ms, 50000, 60000);
    audit_check(h);
    const struct script_claim_runs *row = next(h, "r1", 1);
    assert_true(str_eqz(row->run, waits));
    starts = waits;
    harness_do(h, "ZADD %s 1 %s 1 %s 1 %s", harness_key(h, "expiry"), starts, parked, depends);
    promote(h, 10);
    rig_assert_status(h, starts, "provisioning"); /* it is being started */
    rig_assert_status(h, parked, "error");
    rig_assert_status(h, depends, "error");
    assert_non_null(strstr(rig_field(h, parked, "error"), "\"expired\""));
    assert_string_equal(rig_kinds(h, parked), "runtime_terminal ");
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "expiry")));
    audit_check(h);
}

/* ---- retries ---- */

static void test_which_failures_are_tried_again(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const struct {
        const char *on, *not_on, *asked;
        bool again;
    } cases[] = {{NULL, NULL, "", true},
                 {"timeout signal", NULL, "", false},
                 {"timeout exit_nonzero", NULL, "", true},
                 {NULL, "exit_nonzero", "", false},
                 {NULL, "exit", "", true}, /* whole words */
                 {"exit_nonzero", "exit_nonzero", "", false},
                 {NULL, NULL, "no", false},
                 {NULL, NULL, "0", true},
                 {"timeout", NULL, "0", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *run = rig_submit(
            h, &(struct rig_run){.max_attempts = 2, .retry_on = cases[i].on, .no_retry_on = cases[i].not_on});
        const struct script_claim_runs *row = next(h, "r1", 1);
        harness_assert_err(rig_started(h, "r1", row), ERR_OK);
        struct script_finish_args args = {
            .inc = S("r1"),
            .run = row->run,
            .epoch = row->epoch,
            .attempt = 1,
            .outcome = S("error"),
            .error_json = S("{\"class\":\"exit_nonzero\",\"message\":\"\\\"class\\\":\\\"timeout\\\"\"}"),
            .exit_code = S("1"),
            .retry = S(cases[i].asked),
            .rid = S(RID),
            .retention_ms = RETAIN};
        harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
        const char *status = rig_field(h, run, "status");
        assert_string_equal(status, !cases[i].again                    ? "error"
                                    : strcmp(cases[i].asked, "0") == 0 ? "queued"
                                                                       : "scheduled");
        audit_check(h);
        harness_assert_err(rig_stop(h, run), ERR_OK);
    }
}

static void test_backoff_grows_and_is_capped(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    int64_t most[8] = {0};
    for (int n = 0; n < 20; n++) {
        const char *run =
            rig_submit(h, &(struct rig_run){.max_attempts = 9, .backoff_type = "exponential", .backoff_base = "1000"});
        for (int attempt = 0; attempt < 8; attempt++) {
            const struct script_claim_runs *row = next(h, "r1", 1);
            harness_assert_err(rig_started(h, "r1", row), ERR_OK);
            struct script_finish_args args = {.inc = S("r1"),
                                              .run = row->run,
                                              .epoch = row->epoch,
                                              .attempt = row->attempt,
                                              .outcome = S("error"),
                                              .error_json = S("{\"class\":\"signal\",\"message\":\"\"}"),
                                              .rid = S(RID),
                                              .retention_ms = RETAIN};
            int64_t before = harness_now_ms(h);
            harness_assert_err(sync_finish(h, &args, NULL), ERR_OK);
            int64_t due = strtoll(rig_field(h, run, "due"), NULL, 10), delay = due ? due - before : 0;
            int64_t bound = INT64_C(1000) << attempt;
            bound = bound < 100000 ? bound : 100000;
            assert_in_range(delay + 10, 0, bound + 1000);
            most[attempt] = delay > most[attempt] ? delay : most[attempt];
            if (strcmp(rig_field(h, run, "status"), "scheduled") == 0) {
                audit_due(h, run);
                promote(h, 10);
            }
        }
        harness_assert_err(rig_stop(h, run), ERR_OK);
    }
    for (int attempt = 1; attempt < 6;
         attempt++) /* full jitter: of twenty, one is in the upper half almost certainly */
        assert_true(most[attempt] > INT64_C(1000) << (attempt - 1));
    audit_check(h);
}

/* ---- requirements ---- */

static void test_tags_are_met_by_those_that_have_them(void **state)
{
    struct harness *h = *state;
    register_as(h, "r1", "8", "", "default");
    register_as(h, "r2", "8", "gpu,region=lhr", "default");
    const char *gpu = rig_submit(h, &(struct rig_run){.requires = "gpu"}), *any = rig_submit(h, NULL);
    audit_check(h);
    assert_true(str_eqz(next(h, "r1", 5)->run, any));
    assert_null(next(h, "r1", 5));
    assert_true(str_eqz(next(h, "r2", 5)->run, gpu));
    assert_null(next(h, "r2", 5));
    rig_submit(h,
               &(struct rig_run){.requires = "region=lhr"}); /* a requirement that was not there when it looked last */
    assert_null(next(h, "r1", 5));
    assert_non_null(next(h, "r2", 5));
    rig_submit(h, &(struct rig_run){.requires = "region"});
    assert_null(next(h, "r2", 5));
    audit_check(h);
}

static void test_nothing_is_left_of_requirements(void **state)
{
    struct harness *h = *state;
    register_as(h, "r2", "8", "gpu", "default");
    const char *a = rig_submit(h, &(struct rig_run){.requires = "gpu"}),
               *b = rig_submit(h, &(struct rig_run){.requires = "x"});
    assert_non_null(next(h, "r2", 1));
    harness_assert_err(rig_stop(h, b), ERR_OK);
    (void)a;
    assert_string_equal(harness_keys(h, harness_key(h, "req*")), "");
    assert_string_equal(harness_keys(h, harness_key(h, "lane*")), "");
    audit_check(h);
}

static void test_a_large_run_gets_its_slots(void **state)
{
    struct harness *h = *state;
    register_as(h, "r1", "4", "", "default");
    register_as(h, "r2", "4", "", "default");
    const char *large = rig_submit(h, &(struct rig_run){.slots = "4"});
    for (int i = 0; i < 5; i++)
        rig_submit(h, NULL);
    const struct script_claim_reply *reply =
        rig_claim(h, "r1", 9001, 1); /* one slot is free: it waits for the others */
    int64_t first = (int64_t)reply->runs_len;
    reply = rig_claim(h, "r1", 9002, 1);
    assert_true(first + (int64_t)reply->runs_len <= 1 && reply->more == 0);
    reply = rig_claim(h, "r2", 9005, 2); /* another one is not held up */
    assert_int_equal(reply->runs_len, 2);
    reply = rig_claim(h, "r1", 9006, 4);
    assert_true(reply->runs_len == 1 && str_eqz(reply->runs[0].run, large) && reply->runs[0].slots == 4);
    assert_string_equal(harness_keys(h, harness_key(h, "hold:*")), "");
    audit_check(h);
    register_as(h, "r3", "3", "", "default");
    rig_submit(h, &(struct rig_run){.slots = "4"});
    reply = rig_claim(h, "r3", 9007, 3); /* too small for it ever: takes the others */
    assert_true(reply->runs_len >= 1 && reply->more == 0);
    audit_check(h);
}

static void test_who_waits_for_nobody_is_told_so(void **state)
{
    struct harness *h = *state;
    register_as(h, "r1", "8", "", "default");
    const char *gpu = rig_submit(h, &(struct rig_run){.requires = "gpu"}),
               *other = rig_submit(h, &(struct rig_run){.queue = "other"}), *served = rig_submit(h, NULL);
    const struct script_watch_args args = {.max = 10, .rid = S(RID)};
    const struct script_watch_reply *reply;
    harness_assert_err(sync_watch(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->told, 0); /* too early */
    const char *const runs[] = {gpu, other, served};
    for (size_t i = 0; i < 3; i++) { /* ten seconds go by: an older entry instead */
        const char *lane =
            harness_key(h, "lane:%s:%s:default:normal", rig_field(h, runs[i], "queue"), rig_field(h, runs[i], "req"));
        harness_do(h, "DEL %s", lane);
        harness_do(h, "XADD %s 5-1 r %s", lane, runs[i]);
        harness_do(h, "HSET %s laneId 5-1", harness_key(h, "run:%s", runs[i]));
    }
    harness_do(h, "HSET %s watch 1", harness_key(h, "reap"));
    harness_assert_err(sync_watch(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->told, 2);
    assert_string_equal(rig_field(h, gpu, "waitingFor"), "{\"runner\":{\"queue\":\"default\",\"requires\":[\"gpu\"]}}");
    assert_string_equal(rig_kinds(h, gpu), "notification ");
    assert_string_equal(rig_kinds(h, other), "notification ");
    assert_string_equal(rig_kinds(h, served), "");
    harness_do(h, "HSET %s watch 1", harness_key(h, "reap"));
    harness_assert_err(sync_watch(h, &args, &reply), ERR_OK);
    assert_int_equal(reply->told, 0); /* once */
    register_as(h, "r2", "8", "gpu", "default");
    const struct script_claim_runs *row = next(h, "r2", 1);
    while (row && !str_eqz(row->run, gpu))
        row = next(h, "r2", 1);
    assert_true(row && row->first_seq == 2);
    assert_string_equal(rig_field(h, gpu, "waitingFor"), "");
    harness_assert_err(rig_started(h, "r2", row), ERR_OK);
    harness_assert_err(rig_finish(h, "r2", row, "success", 0, NULL), ERR_OK);
    assert_string_equal(rig_kinds(h, gpu), "notification runtime_started runtime_terminal ");
}

/* ---- a runner whose process is gone ---- */

static const struct script_reap_reply *reap(struct harness *h)
{
    struct script_reap_args args = {
        .lease_ms = LEASE, .max = 64, .max_losses = LOSSES, .rid = S(RID), .retention_ms = RETAIN};
    const struct script_reap_reply *reply;
    harness_assert_err(sync_reap(h, &args, &reply), ERR_OK);
    return reply;
}

static double lease_left(struct harness *h, const char *inc)
{
    double at = 0;
    harness_zscore(h, harness_key(h, "leases"), inc, &at);
    return at - (double)harness_now_ms(h);
}

static void test_nobody_listens_for_a_dead_process(void **state)
{
    struct harness *h = *state;
    rig_register(h, "gone");
    rig_register(h, "lives");
    redisContext *ear = audit_listen(h, "nothing");
    assert_non_null(ear);
    reap(h); /* the first one after an outage: nobody is touched */
    assert_true(lease_left(h, "gone") > 1600);
    harness_do(h, "HSET %s until 0", harness_key(h, "reap"));
    redisReply *r = redisCommand(ear, "SUBSCRIBE %s", harness_key(h, "ctl:lives"));
    assert_non_null(r);
    freeReplyObject(r);
    const struct script_reap_reply *reply = reap(h);
    assert_in_range(reply->next_ms, 1400, 1500);
    assert_true(lease_left(h, "gone") <= 1500 && lease_left(h, "lives") > 1600);
    reply = reap(h);
    assert_in_range(reply->next_ms, 1, 1500);                               /* it is not put off */
    harness_assert_err(rig_heartbeat(h, "gone", 0, NULL, 0, NULL), ERR_OK); /* it only reconnected */
    assert_true(lease_left(h, "gone") > 1600);
    redisFree(ear);
    audit_check(h);
}

/* ---- fairness ---- */

static void test_a_weight_is_a_share(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    harness_do(h, "HSET %s weight 3", harness_key(h, "ws:big"));
    harness_do(h, "ZADD %s 0 big", harness_key(h, "workspaces"));
    for (int i = 0; i < 60; i++) {
        rig_submit(h, &(struct rig_run){.ws = "big", .priority = i % 2 ? "high" : "low"});
        rig_submit(h, &(struct rig_run){.ws = "small"});
    }
    int big = 0;
    for (int i = 0; i < 40; i++)
        big += strcmp(rig_field(h, audit_id(h, next(h, "r1", 1)), "ws"), "big") == 0;
    assert_in_range(big, 29, 31);
    audit_check(h);
}

static void test_one_run_among_many(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    for (int w = 0; w < 5; w++)
        for (int i = 0; i < 100; i++)
            rig_submit(h, &(struct rig_run){.ws = harness_printf(h, "ws%d", w)});
    for (int i = 0; i < 13; i++)
        next(h, "r1", 1);
    const char *one = rig_submit(h, &(struct rig_run){.ws = "late"});
    int before = 0;
    while (!str_eqz(next(h, "r1", 1)->run, one))
        before++;
    assert_true(before <= 5); /* one round */
    audit_check(h);
}

/* ---- retention ---- */

static void sweep(struct harness *h)
{
    harness_assert_err(sync_sweep(h, &(struct script_sweep_args){.max = 100}, NULL), ERR_OK);
}

static void test_a_count_keeps_the_newest(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *runs[5];
    for (int i = 0; i < 5; i++) {
        runs[i] = rig_submit(h, &(struct rig_run){.retain_count = "2"});
        end(h, next(h, "r1", 1), "success");
    }
    sweep(h);
    for (int i = 0; i < 5; i++)
        assert_int_equal(harness_exists(h, harness_key(h, "run:%s", runs[i])), i >= 3);
    audit_check(h);
}

static void test_events_may_go_earlier(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, &(struct rig_run){.retain_events = "1000"});
    end(h, next(h, "r1", 1), "success");
    harness_do(h, "ZADD %s 1 e:%s", harness_key(h, "retain"), run);
    sweep(h);
    rig_assert_status(h, run, "success");
    assert_int_equal(harness_xlen(h, harness_key(h, "run:%s:events", run)), 0);
    assert_string_equal(rig_field(h, run, "droppedTo"), rig_field(h, run, "lastSeq"));
    harness_do(h, "ZADD %s 1 %s", harness_key(h, "retain"), run);
    sweep(h);
    assert_false(harness_exists(h, harness_key(h, "use:default")));
    assert_false(harness_exists(h, harness_key(h, "retain")));
}

static void test_dead_letters(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    end(h, next(h, "r1", 1), "error");
    assert_true(harness_zscore(h, harness_key(h, "dead:default"), run, NULL));
    assert_string_equal(rig_field(h, run, "deadLetter"), "1");
    struct script_delete_args args = {.ws = S("default"), .run = S(run)};
    harness_assert_err(sync_delete(h, &args, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "dead:default")));
}

static void settings(struct harness *h, const char *ws, const char *field, const char *value)
{
    const struct str fields[] = {str_of(field), str_of(value)};
    harness_assert_err(
        sync_ws_put(
            h, &(struct script_ws_put_args){.ws = str_of(ws), .max_workspaces = 9, .fields = fields, .fields_len = 2},
            NULL),
        ERR_OK);
}

static void test_bounds_of_a_workspace_and_a_queue(void **state)
{
    struct harness *h = *state;
    enum err err;
    settings(h, "small", "queueMax", "2");
    rig_submit(h, &(struct rig_run){.ws = "small"});
    rig_submit(h, &(struct rig_run){.ws = "small", .delay_ms = 50000});
    assert_null(rig_try_submit(h, &(struct rig_run){.ws = "small"}, &err));
    harness_assert_err(err, ERR_QUEUE_FULL);
    rig_submit(h, NULL); /* others are not held up */
    harness_do(h, "HSET %s maxWaiting 3", harness_key(h, "queue:default"));
    assert_null(rig_try_submit(h, NULL, &err));
    harness_assert_err(err, ERR_QUEUE_FULL);
    harness_do(h, "DEL %s", harness_key(h, "queue:default"));
    harness_do(h, "HSET %s draining 1", harness_key(h, "queue:default"));
    assert_null(rig_try_submit(h, NULL, &err));
    harness_assert_err(err, ERR_QUEUE_DRAINING);
    harness_do(h, "DEL %s", harness_key(h, "queue:default"));
    settings(h, "default", "bytesMax", "50");
    rig_submit(h, NULL); /* 23 bytes each */
    assert_null(rig_try_submit(h, NULL, &err));
    harness_assert_err(err, ERR_QUOTA_EXCEEDED);
    settings(h, "default", "bytesMax", "80");
    harness_do(h, "HSET %s stored 40", harness_key(h, "use:default")); /* what it stored counts with it */
    assert_null(rig_try_submit(h, NULL, &err));
    harness_assert_err(err, ERR_QUOTA_EXCEEDED);
    harness_do(h, "HDEL %s stored", harness_key(h, "use:default"));
    harness_assert_err(sync_ws_delete(h, &(struct script_ws_delete_args){.ws = S("default")}, NULL), ERR_OK);
    harness_assert_err(sync_ws_delete(h, &(struct script_ws_delete_args){.ws = S("small")}, NULL), ERR_OK);
    for (int i = 0; i < 3; i++) /* nothing of the settings is left in force */
        rig_submit(h, &(struct rig_run){.ws = i ? "small" : NULL});
    rig_submit(h, NULL);
    audit_check(h);
}

static void test_a_paused_queue(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, NULL);
    harness_do(h, "HSET %s paused 1", harness_key(h, "queue:default"));
    assert_null(next(h, "r1", 5));
    harness_do(h, "HDEL %s paused", harness_key(h, "queue:default"));
    assert_non_null(next(h, "r1", 5));
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_run_waits_for_those_it_depends_on),
        TEST(test_a_dependency_that_fails),
        TEST(test_dependents_and_stops),
        TEST(test_dependents_are_told_in_bounded_steps),
        TEST(test_dependencies_that_are_refused),
        TEST(test_what_does_not_start_in_time_ends),
        TEST(test_which_failures_are_tried_again),
        TEST(test_backoff_grows_and_is_capped),
        TEST(test_tags_are_met_by_those_that_have_them),
        TEST(test_nothing_is_left_of_requirements),
        TEST(test_a_large_run_gets_its_slots),
        TEST(test_who_waits_for_nobody_is_told_so),
        TEST(test_nobody_listens_for_a_dead_process),
        TEST(test_a_weight_is_a_share),
        TEST(test_one_run_among_many),
        TEST(test_a_count_keeps_the_newest),
        TEST(test_events_may_go_earlier),
        TEST(test_dead_letters),
        TEST(test_bounds_of_a_workspace_and_a_queue),
        TEST(test_a_paused_queue),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
