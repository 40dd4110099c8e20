/* Schedules: stored with the template of their runs; a tick runs once, whoever comes first and how often it is asked; overlap, refusals, jitter, the end. */
#include <stdlib.h>

#include "audit.h"
#include "common/id.h"
#include "lua/scripts_sync.h"

struct plan {
    const char *name, *overlap, *agent, *seen, *inline_digest;
    int64_t first_ms, jitter_ms, end_ms, max_schedules, queue_max, max_attempts;
    bool create, paused;
};

static const char *or_else(const char *s, const char *otherwise)
{
    return s ? s : otherwise;
}

static const struct str def[] = {{"json", 4},
                                 {"{\"name\":\"t\"}", 12},
                                 {"queue", 5},
                                 {"default", 7},
                                 {"timeoutMs", 9},
                                 {"1000", 4},
                                 {"graceMs", 7},
                                 {"100", 3},
                                 {"maxAttempts", 11},
                                 {"1", 1},
                                 {"atMostOnce", 10},
                                 {"0", 1},
                                 {"backoffType", 11},
                                 {"fixed", 5},
                                 {"backoffBaseMs", 13},
                                 {"10", 2},
                                 {"backoffCapMs", 12},
                                 {"10", 2},
                                 {"source", 6},
                                 {"stdout", 6},
                                 {"executor", 8},
                                 {"process", 7},
                                 {"req", 3},
                                 {"-", 1}};

static const char *version_of(struct harness *h, const char *name)
{
    return or_else(harness_hget(h, harness_key(h, "schedule:default:%s", name), "version"), "");
}

static enum err try_put(struct harness *h, const struct plan *p, const struct script_schedule_put_reply **ret_reply)
{
    const char *name = or_else(p->name, "s");
    const struct str fields[] = {S("input"), S("{\"a\":1}"), S("createdBy"), S("root")};
    struct script_schedule_put_args args = {.ws = S("default"),
                                            .name = S(name),
                                            .seen = S(or_else(p->seen, version_of(h, name))),
                                            .create = p->create,
                                            .cron = S("* * * * *"),
                                            .zone = S("UTC"),
                                            .jitter_ms = p->jitter_ms,
                                            .end_ms = p->end_ms,
                                            .overlap = S(or_else(p->overlap, "allow")),
                                            .catch_up = S("skip"),
                                            .paused = p->paused ? 1 : -1,
                                            .created_ms = harness_now_ms(h),
                                            .first_ms = p->first_ms,
                                            .run_json = S("{\"agent\":\"a\"}"),
                                            .agent = S(or_else(p->agent, "a")),
                                            .def_digest = S(or_else(p->inline_digest, "")),
                                            .queue = S(""),
                                            .priority = S("normal"),
                                            .max_attempts = p->max_attempts,
                                            .on_limit = S("queue"),
                                            .queue_max = p->queue_max ? p->queue_max : 1000,
                                            .retention_ms = RETAIN,
                                            .max_schedules = p->max_schedules ? p->max_schedules : 100,
                                            .def_fields = p->inline_digest ? def : NULL,
                                            .def_fields_len = p->inline_digest ? ARRAY_LEN(def) : 0,
                                            .fields = fields,
                                            .fields_len = ARRAY_LEN(fields)};
    return sync_schedule_put(h, &args, ret_reply);
}

static void put(struct harness *h, const struct plan *p)
{
    harness_assert_err(try_put(h, p, NULL), ERR_OK);
}

static void put_agent(struct harness *h)
{
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S("a"),
                                         .digest = S("da"),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = 10,
                                         .max_versions = 10};
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
}

static const struct script_ticks_reply *due(struct harness *h)
{
    const struct script_ticks_reply *reply;
    harness_assert_err(sync_ticks(h, &(struct script_ticks_args){.max = 10}, &reply), ERR_OK);
    return reply;
}

/* A node's call of `tick` after what `ticks` told it. run: a new id, in ret_run when it is not NULL. */
static const struct script_tick_reply *tick(struct harness *h, const struct script_ticks_due *row, int64_t next_ms,
                                            const char **ret_run)
{
    const struct script_tick_reply *reply;
    struct id id = id_new_run(0);
    struct script_tick_args args = {.ws = row->ws,
                                    .name = row->name,
                                    .version = row->version,
                                    .seen_ms = row->tick_ms,
                                    .tick_ms = row->tick_ms,
                                    .next_ms = next_ms,
                                    .run = S(id.s),
                                    .rid = S(RID)};
    harness_assert_err(sync_tick(h, &args, &reply), ERR_OK);
    if (ret_run)
        *ret_run = harness_printf(h, "%s", id.s);
    return reply;
}

/* Runs the tick that is due; the run's id. */
static const char *tick_now(struct harness *h)
{
    const char *run;
    const struct script_ticks_reply *d = due(h);
    assert_int_equal(d->due_len, 1);
    const struct script_tick_reply *reply = tick(h, &d->due[0], d->due[0].tick_ms + 1, &run);
    assert_int_equal(reply->moved, 1);
    return reply->code.len ? NULL : run;
}

static const char *field(struct harness *h, const char *name)
{
    return or_else(harness_hget(h, harness_key(h, "schedule:default:s"), name), "");
}

static int64_t runs(struct harness *h)
{
    return harness_int(h, "ZCARD %s", harness_key(h, "idx:default"));
}

/* ---- stored, shown, forgotten ---- */

static void test_what_is_stored_is_shown_and_forgotten(void **state)
{
    struct harness *h = *state;
    const struct script_schedule_put_reply *reply;
    const struct script_schedule_get_reply *got;
    const struct script_schedule_list_reply *list;
    put_agent(h);
    int64_t first = harness_now_ms(h) + 60000;
    harness_assert_err(try_put(h, &(struct plan){.create = true, .first_ms = first}, &reply), ERR_OK);
    assert_int_equal(reply->created, 1);
    assert_int_equal(redis_int(redis_field(reply->fields, "next"), 0), first);
    assert_true(str_eqz(redis_str(redis_field(reply->fields, "run")), "{\"agent\":\"a\"}"));
    assert_null(redis_field(reply->fields, "template"));
    harness_assert_err(try_put(h, &(struct plan){.first_ms = first + 1}, &reply), ERR_OK);
    assert_int_equal(reply->created, 0);
    struct script_schedule_get_args get = {.ws = S("default"), .name = S("s")};
    harness_assert_err(sync_schedule_get(h, &get, &got), ERR_OK);
    assert_int_equal(redis_int(redis_field(got->fields, "next"), 0), first + 1);
    assert_in_range(got->now_ms, harness_now_ms(h) - 5000, harness_now_ms(h));
    put(h, &(struct plan){.name = "b", .first_ms = first});
    struct script_schedule_list_args page = {.ws = S("default"), .after = S(""), .limit = 1};
    harness_assert_err(sync_schedule_list(h, &page, &list), ERR_OK);
    assert_true(list->schedules_len == 1 && str_eqz(list->schedules[0].name, "b") && str_eqz(list->next, "b"));
    page.after = list->next;
    harness_assert_err(sync_schedule_list(h, &page, &list), ERR_OK);
    assert_true(list->schedules_len == 1 && str_eqz(list->schedules[0].name, "s") && list->next.len == 0);
    audit_check(h);
    const char *const names[] = {"s", "b"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct script_schedule_delete_args args = {.ws = S("default"), .name = S(names[i])};
        harness_assert_err(sync_schedule_delete(h, &args, NULL), ERR_OK);
        audit_refuses(h, sync_schedule_delete(h, &args, NULL), ERR_SCHEDULE_NOT_FOUND);
    }
    harness_assert_err(sync_schedule_get(h, &get, &got), ERR_OK);
    assert_int_equal(got->version.len, 0);
    harness_assert_err(
        sync_agent_delete(h, &(struct script_agent_delete_args){.ws = S("default"), .name = S("a")}, NULL), ERR_OK);
    audit_nothing_left(h);
}

static void test_what_is_refused_writes_nothing(void **state)
{
    struct harness *h = *state;
    audit_refuses(h, try_put(h, &(struct plan){.first_ms = 1}, NULL), ERR_AGENT_NOT_FOUND);
    put_agent(h);
    audit_refuses(h, try_put(h, &(struct plan){.seen = "5"}, NULL), ERR_SCHEDULE_CHANGED); /* it was deleted */
    put(h, &(struct plan){.first_ms = 1});
    audit_refuses(h, try_put(h, &(struct plan){.create = true, .seen = ""}, NULL), ERR_SCHEDULE_EXISTS);
    audit_refuses(h, try_put(h, &(struct plan){.seen = "5"}, NULL), ERR_SCHEDULE_CHANGED);
    audit_refuses(h, try_put(h, &(struct plan){.seen = ""}, NULL), ERR_SCHEDULE_CHANGED);
    audit_refuses(h, try_put(h, &(struct plan){.name = "t", .max_schedules = 1}, NULL), ERR_LIMIT_EXCEEDED);
    audit_refuses(h, try_put(h, &(struct plan){.agent = "b"}, NULL), ERR_AGENT_NOT_FOUND);
    put(h, &(struct plan){.max_schedules = 1}); /* one that is there is no new one */
}

/* The definition of an inline template lives as long as the schedule names it. */
static void test_an_inline_definition_is_kept_for_the_runs_to_come(void **state)
{
    struct harness *h = *state;
    put(h, &(struct plan){.inline_digest = "d1", .first_ms = 1});
    audit_check(h);
    const char *run = tick_now(h);
    assert_string_equal(rig_field(h, run, "def"), "d1");
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:d1")), 2);
    put(h, &(struct plan){.inline_digest = "d2", .first_ms = 1});
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:d1")), 1);
    put(h, &(struct plan){.inline_digest = "d2", .first_ms = 1});
    assert_int_equal(harness_int(h, "HGET %s refs", harness_key(h, "def:d2")), 1);
    audit_check(h);
    put_agent(h);
    put(h, &(struct plan){.first_ms = 1});
    assert_false(harness_exists(h, harness_key(h, "def:d2")));
    audit_check(h);
}

/* ---- ticks ---- */

static void test_two_nodes_at_one_tick_make_one_run(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    int64_t at = harness_now_ms(h) - 5;
    put(h, &(struct plan){.first_ms = at});
    const char *one, *other;
    const struct script_ticks_reply *here = due(h), *there = due(h); /* both see it before either acts */
    assert_true(here->due_len == 1 && there->due_len == 1);
    assert_true(here->due[0].tick_ms == at && str_eqz(here->due[0].cron, "* * * * *") &&
                str_eqz(here->due[0].zone, "UTC"));
    assert_int_equal(tick(h, &here->due[0], at + 60000, &one)->moved, 1);
    const char *before = rig_dump(h);
    assert_int_equal(tick(h, &there->due[0], at + 60000, &other)->moved, 0);
    assert_string_equal(rig_dump(h), before);
    assert_int_equal(runs(h), 1);
    rig_assert_status(h, one, "queued");
    assert_string_equal(rig_field(h, one, "schedule"), "s");
    assert_string_equal(rig_field(h, one, "tick"), harness_printf(h, "%lld", (long long)at));
    assert_string_equal(rig_field(h, one, "createdBy"), "root");
    assert_string_equal(rig_field(h, one, "input"), "{\"a\":1}");
    assert_string_equal(field(h, "lastRun"), one);
    assert_string_equal(field(h, "last"), harness_printf(h, "%lld", (long long)at));
    assert_string_equal(field(h, "runs"), "1");
    here = due(h);
    assert_int_equal(here->due_len, 0);
    assert_in_range(here->next_ms, 50000, 60000);
    audit_check(h);
}

static void test_a_tick_that_is_not_the_next_one_is_none(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    int64_t now = harness_now_ms(h);
    put(h, &(struct plan){.first_ms = now + 60000});
    assert_int_equal(due(h)->due_len, 0);
    struct script_ticks_due row = {
        .ws = S("default"), .name = S("s"), .version = S(version_of(h, "s")), .tick_ms = now + 60000};
    const char *before = rig_dump(h);
    assert_int_equal(tick(h, &row, now + 120000, NULL)->moved, 0); /* a node whose clock is ahead */
    row.tick_ms = now - 60000;
    assert_int_equal(tick(h, &row, now + 60000, NULL)->moved, 0); /* and one that sleeps */
    row.name = S("none");
    assert_int_equal(tick(h, &row, now + 60000, NULL)->moved, 0);
    assert_string_equal(rig_dump(h), before);
    put(h, &(struct plan){.first_ms = now - 1});
    row = due(h)->due[0];
    put(h, &(struct plan){.first_ms = now - 1}); /* another schedule with the same tick */
    assert_int_equal(tick(h, &row, now, NULL)->moved, 0);
    row = due(h)->due[0];
    struct script_schedule_delete_args gone = {.ws = S("default"), .name = S("s")};
    harness_assert_err(sync_schedule_delete(h, &gone, NULL), ERR_OK);
    assert_int_equal(tick(h, &row, now, NULL)->moved, 0);
    assert_int_equal(runs(h), 0);
}

static void test_the_last_tick_ends_it(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    put(h, &(struct plan){.first_ms = harness_now_ms(h) - 1});
    assert_int_equal(tick(h, &due(h)->due[0], 0, NULL)->moved, 1);
    assert_string_equal(field(h, "next"), "");
    assert_false(harness_exists(h, harness_key(h, "ticks")));
    assert_int_equal(due(h)->next_ms, -1);
    assert_true(harness_exists(h, harness_key(h, "schedule:default:s")));
    audit_check(h);
}

static void test_ticks_that_are_passed_over_are_counted(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    int64_t now = harness_now_ms(h);
    put(h, &(struct plan){.first_ms = now - 500000});
    const struct script_ticks_due row = due(h)->due[0];
    struct script_tick_args args = {.ws = row.ws,
                                    .name = row.name,
                                    .version = row.version,
                                    .seen_ms = row.tick_ms,
                                    .next_ms = now - 1000,
                                    .missed = 7,
                                    .until_ms = now - 60000,
                                    .run = S(NOBODY),
                                    .rid = S(RID)};
    harness_assert_err(sync_tick(h, &args, NULL), ERR_OK);
    assert_int_equal(runs(h), 0);
    assert_string_equal(field(h, "skipped"), "7");
    assert_int_equal(due(h)->due[0].until_ms, now - 60000);
    assert_int_equal(due(h)->due[0].tick_ms, now - 1000);
    args.seen_ms = now - 1000;
    args.tick_ms = now + 60000; /* one that has not come */
    audit_refuses(h, sync_tick(h, &args, NULL), ERR_OK);
}

static void test_a_refusal_is_told_and_the_schedule_goes_on(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    int64_t now = harness_now_ms(h);
    put(h, &(struct plan){.first_ms = now - 10, .queue_max = 1});
    assert_non_null(tick_now(h));
    assert_null(tick_now(h));
    assert_string_equal(field(h, "lastError"), "queue_full");
    assert_string_equal(field(h, "skipped"), "1");
    put(h, &(struct plan){.first_ms = now - 10});
    assert_string_equal(field(h, "lastError"), "");
    struct script_agent_delete_args gone = {.ws = S("default"), .name = S("a")};
    harness_assert_err(sync_agent_delete(h, &gone, NULL), ERR_OK);
    assert_null(tick_now(h));
    assert_string_equal(field(h, "lastError"), "agent_not_found");
    put_agent(h);
    assert_non_null(tick_now(h));
    assert_string_equal(field(h, "lastError"), "");
    assert_string_equal(field(h, "runs"), "2");
    assert_string_equal(field(h, "skipped"), "2");
    assert_int_equal(runs(h), 2);
    audit_check(h);
}

static void test_jitter_is_the_same_for_all(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    int64_t at = harness_now_ms(h) - 1, dues[2];
    for (int i = 0; i < 2; i++) {
        put(h, &(struct plan){.first_ms = at, .jitter_ms = 86400000});
        const char *run = tick_now(h);
        rig_assert_status(h, run, "scheduled");
        dues[i] = strtoll(rig_field(h, run, "due"), NULL, 10);
        assert_in_range(dues[i], at, at + 86400000);
    }
    assert_int_equal(dues[0], dues[1]);
    put(h, &(struct plan){.first_ms = at - 1, .jitter_ms = 86400000});
    assert_int_not_equal(dues[0], strtoll(rig_field(h, tick_now(h), "due"), NULL, 10)); /* not of each tick */
    audit_check(h);
}

static void test_a_new_earliest_tick_is_announced(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    redisContext *ear = audit_listen(h, "due");
    int64_t now = harness_now_ms(h);
    put(h, &(struct plan){.first_ms = now + 60000});
    put(h, &(struct plan){.name = "later", .first_ms = now + 70000});
    put(h, &(struct plan){.name = "sooner", .first_ms = now + 50000});
    assert_string_equal(audit_heard(h, ear),
                        harness_printf(h, "due %lld\ndue %lld\n", (long long)now + 60000, (long long)now + 50000));
}

/* ---- overlap ---- */

static void test_overlap_skip(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    put(h, &(struct plan){.first_ms = harness_now_ms(h) - 10, .overlap = "skip", .max_attempts = 2});
    assert_non_null(tick_now(h));
    assert_null(tick_now(h)); /* it is queued */
    rig_register(h, "r1");
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    assert_null(tick_now(h)); /* executed */
    harness_assert_err(rig_finish(h, "r1", row, "error", 60000, NULL), ERR_OK);
    assert_null(tick_now(h)); /* waits for its retry, and holds no place meanwhile */
    assert_string_equal(field(h, "skipped"), "3");
    assert_string_equal(field(h, "lastError"), "");
    harness_assert_err(rig_stop(h, audit_id(h, row)), ERR_OK);
    assert_non_null(tick_now(h));
    assert_string_equal(field(h, "runs"), "2");
    assert_int_equal(runs(h), 2);
    audit_check(h);
}

static void test_overlap_allow(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    put(h, &(struct plan){.first_ms = harness_now_ms(h) - 10});
    for (int i = 0; i < 3; i++)
        rig_assert_status(h, tick_now(h), "queued");
    rig_register(h, "r1");
    assert_int_equal(rig_claim(h, "r1", 1, 8)->runs_len, 3);
}

static void test_overlap_queue(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    put(h, &(struct plan){.first_ms = harness_now_ms(h) - 10, .overlap = "queue"});
    const char *first = tick_now(h), *second = tick_now(h), *third = tick_now(h);
    rig_register(h, "r1");
    for (int i = 0; i < 3; i++) {
        const struct script_claim_reply *reply = rig_claim(h, "r1", i + 1, 8);
        assert_int_equal(reply->runs_len, 1); /* one at a time, in their order */
        assert_true(str_eqz(reply->runs[0].run, i == 0 ? first : i == 1 ? second : third));
        harness_assert_err(rig_started(h, "r1", &reply->runs[0]), ERR_OK);
        harness_assert_err(rig_finish(h, "r1", &reply->runs[0], "success", 0, NULL), ERR_OK);
    }
    assert_string_equal(field(h, "skipped"), "0");
    audit_check(h);
}

static void test_overlap_replace(void **state)
{
    struct harness *h = *state;
    put_agent(h);
    put(h, &(struct plan){.first_ms = harness_now_ms(h) - 10, .overlap = "replace"});
    const char *first = tick_now(h), *second = tick_now(h);
    rig_assert_status(h, first, "stopped"); /* it had not begun */
    rig_register(h, "r1");
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    assert_true(str_eqz(row->run, second));
    const char *third = tick_now(h);
    rig_assert_status(h, second, "stopping");
    rig_assert_status(h, third, "queued");
    assert_int_equal(rig_claim(h, "r1", 2, 8)->runs_len, 0); /* not beside the one that ends */
    harness_assert_err(rig_finish(h, "r1", row, "stopped", 0, NULL), ERR_OK);
    assert_true(str_eqz(rig_execute(h, "r1", 3)->run, third));
    audit_check(h);
}

/* ---- by hand ---- */

static enum err set(struct harness *h, bool paused, const char *seen, int64_t next_ms)
{
    struct script_schedule_set_args args = {
        .ws = S("default"), .name = S("s"), .seen = S(seen), .paused = paused, .next_ms = next_ms};
    return sync_schedule_set(h, &args, NULL);
}

static void test_pause_and_resume(void **state)
{
    struct harness *h = *state;
    int64_t now = harness_now_ms(h);
    put_agent(h);
    audit_refuses(h, set(h, true, "", 0), ERR_SCHEDULE_NOT_FOUND);
    put(h, &(struct plan){.first_ms = now - 10});
    const struct script_ticks_due row = due(h)->due[0];
    harness_assert_err(set(h, true, "", 0), ERR_OK);
    assert_int_equal(due(h)->due_len, 0);
    assert_int_equal(tick(h, &row, now, NULL)->moved, 0); /* a node that had seen it before */
    put(h, &(struct plan){.first_ms = now - 10});         /* stays paused */
    assert_int_equal(due(h)->due_len, 0);
    audit_refuses(h, set(h, false, "5", now), ERR_SCHEDULE_CHANGED);
    harness_assert_err(set(h, false, version_of(h, "s"), now + 5000), ERR_OK);
    audit_refuses(h, set(h, false, version_of(h, "s"), now + 9000), ERR_OK); /* goes on already */
    assert_string_equal(field(h, "next"), harness_printf(h, "%lld", (long long)now + 5000));
    assert_string_equal(field(h, "paused"), "");
    audit_check(h);
    put(h, &(struct plan){.first_ms = now - 10, .paused = true});
    assert_int_equal(due(h)->due_len, 0);
    audit_check(h);
}

static enum err trigger(struct harness *h, const char *key, const struct script_schedule_trigger_reply **ret_reply)
{
    struct id id = id_new_run(0);
    struct script_schedule_trigger_args args = {.ws = S("default"),
                                                .name = S("s"),
                                                .run = S(id.s),
                                                .idem_key = S(key),
                                                .idem_digest = S("d"),
                                                .created_by = S("me"),
                                                .rid = S(RID)};
    return sync_schedule_trigger(h, &args, ret_reply);
}

static void test_trigger(void **state)
{
    struct harness *h = *state;
    const struct script_schedule_trigger_reply *reply, *again;
    put_agent(h);
    audit_refuses(h, trigger(h, "", NULL), ERR_SCHEDULE_NOT_FOUND);
    int64_t next = harness_now_ms(h) + 60000;
    put(h, &(struct plan){.first_ms = next, .overlap = "skip", .paused = true});
    harness_assert_err(trigger(h, "k", &reply), ERR_OK);
    const char *run = harness_printf(h, "%.*s", STR_ARG(reply->run));
    assert_string_equal(rig_field(h, run, "createdBy"), "me");
    assert_string_equal(rig_field(h, run, "schedule"), "s");
    assert_string_equal(field(h, "lastRun"), run);
    harness_assert_err(trigger(h, "k", &again), ERR_OK);
    assert_true(again->replayed == 1 && str_eq(again->run, reply->run));
    assert_string_equal(field(h, "runs"), "1");
    audit_refuses(h, trigger(h, "", NULL), ERR_CONCURRENCY_LIMIT);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    harness_assert_err(trigger(h, "", NULL), ERR_OK);
    audit_check(h);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_stored_is_shown_and_forgotten),
        TEST(test_what_is_refused_writes_nothing),
        TEST(test_an_inline_definition_is_kept_for_the_runs_to_come),
        TEST(test_two_nodes_at_one_tick_make_one_run),
        TEST(test_a_tick_that_is_not_the_next_one_is_none),
        TEST(test_the_last_tick_ends_it),
        TEST(test_ticks_that_are_passed_over_are_counted),
        TEST(test_a_refusal_is_told_and_the_schedule_goes_on),
        TEST(test_jitter_is_the_same_for_all),
        TEST(test_a_new_earliest_tick_is_announced),
        TEST(test_overlap_skip),
        TEST(test_overlap_allow),
        TEST(test_overlap_queue),
        TEST(test_overlap_replace),
        TEST(test_pause_and_resume),
        TEST(test_trigger),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
