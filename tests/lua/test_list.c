/* list, queues and runners, further: pages over ties and over many chunks, ends of the time range, labels that only look alike, what a row shows. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

static const struct script_list_reply *list(struct harness *h, struct script_list_args args)
{
    args.ws = args.ws.ptr ? args.ws : S("default");
    args.limit = args.limit ? args.limit : 200;
    args.examine = args.examine ? args.examine : 1000;
    const struct script_list_reply *reply = NULL;
    harness_assert_err(sync_list(h, &args, &reply), ERR_OK);
    return reply;
}

/* Sets when a run was created, in the record and in both indexes. */
static void created(struct harness *h, const char *run, int64_t us)
{
    const char *score = harness_printf(h, "%lld", (long long)us), *key = harness_key(h, "run:%s", run);
    long long with_entry = strtoll(rig_field(h, run, "createdUs"), NULL, 10);
    if (!*rig_field(h, run, "laneId"))
        harness_do(h, "HSET %s laneId %lld-%lld", key, with_entry / 1000, with_entry % 1000);
    const char *made = harness_hget(h, key, "made");
    harness_do(h, "HSET %s made %b", key, harness_printf(h, "%s%s", score, strchr(made, ' ')),
               strlen(score) + strlen(strchr(made, ' ')));
    harness_do(h, "ZADD %s %s %s", harness_key(h, "idx:default"), score, run);
    harness_do(h, "ZADD %s %s %s", harness_key(h, "idx:default:agent:t"), score, run);
}

/* Walks all pages; how many runs came, each once, in the order of the index. */
static int walk(struct harness *h, struct script_list_args args)
{
    const redisReply *all = harness_do(h, "ZREVRANGE %s 0 -1", harness_key(h, "idx:default"));
    size_t at = 0;
    for (int pages = 0; pages < 200; pages++) {
        const struct script_list_reply *page = list(h, args);
        for (size_t i = 0; i < page->runs_len; i++, at++) {
            assert_true(at < all->elements);
            assert_true(str_eqz(page->runs[i].run, all->element[at]->str));
        }
        if (page->next.len == 0)
            return (int)at;
        args.cursor = page->next;
    }
    fail_msg("the pages have no end");
    return -1;
}

static void test_pages_over_runs_of_the_same_instant(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 13; i++)
        created(h, rig_submit(h, NULL), INT64_C(1700000000000000) + i / 5); /* five, five and three */
    for (int limit = 1; limit <= 14; limit++)
        assert_int_equal(walk(h, (struct script_list_args){.limit = limit}), 13);
    assert_int_equal(walk(h, (struct script_list_args){.limit = 4, .agent = S("t")}), 13);
    assert_int_equal(walk(h, (struct script_list_args){.limit = 5, .examine = 2}),
                     13); /* fewer than a page at a time */
    audit_check(h);
}

static void test_pages_over_more_than_one_chunk(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 250; i++)
        created(h, rig_submit(h, NULL), INT64_C(1700000000000000) + i / 120); /* ties across what is read at a time */
    static const int64_t limits[] = {99, 100, 101, 200};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        assert_int_equal(walk(h, (struct script_list_args){.limit = limits[i]}), 250);
}

static void test_a_full_last_page_has_no_next(void **state)
{
    struct harness *h = *state;
    assert_int_equal(list(h, (struct script_list_args){.limit = 3})->next.len, 0);
    for (int i = 0; i < 3; i++)
        rig_submit(h, NULL);
    const struct script_list_reply *page = list(h, (struct script_list_args){.limit = 3});
    assert_true(page->runs_len == 3 && page->next.len == 0);
    assert_true(list(h, (struct script_list_args){.limit = 2})->next.len > 0);
}

static void test_the_ends_of_the_time_range_are_within_it(void **state)
{
    struct harness *h = *state;
    created(h, rig_submit(h, NULL), INT64_C(1700000000000999)); /* ms …000 */
    created(h, rig_submit(h, NULL), INT64_C(1700000000001000)); /* ms …001 */
    created(h, rig_submit(h, NULL), INT64_C(1700000000002000)); /* ms …002 */
    int64_t ms = INT64_C(1700000000000);
    assert_int_equal(list(h, (struct script_list_args){.since_ms = ms, .until_ms = ms})->runs_len, 1);
    assert_int_equal(list(h, (struct script_list_args){.since_ms = ms + 1, .until_ms = ms + 2})->runs_len, 2);
    assert_int_equal(list(h, (struct script_list_args){.since_ms = ms + 1})->runs_len, 2);
    assert_int_equal(list(h, (struct script_list_args){.until_ms = ms + 1})->runs_len, 2);
    const struct script_list_reply *page = list(h, (struct script_list_args){.until_ms = ms + 1, .limit = 1});
    page = list(h, (struct script_list_args){.until_ms = ms + 1, .limit = 1, .cursor = page->next});
    assert_true(page->runs_len == 1 && page->next.len == 0);
}

static void test_labels_that_only_look_alike(void **state)
{
    struct harness *h = *state;
    static const char *const labels[] = {"{\"a\":\"1\",\"team\":\"x\"}", "{\"my\\\"team\":\"x\"}",
                                         "{\"a\":\"\\\"team\\\":\\\"x\\\"\"}", "{\"team\":\"xy\"}", "{}"};
    const char *runs[ARRAY_LEN(labels)];
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        runs[i] = rig_submit(h, NULL);
        harness_do(h, "HSET %s labels %s", harness_key(h, "run:%s", runs[i]), labels[i]);
    }
    const struct str team[] = {S("\"team\":\"x\"")}, both[] = {S("\"team\":\"x\""), S("\"a\":\"1\"")};
    const struct script_list_reply *page = list(h, (struct script_list_args){.labels = team, .labels_len = 1});
    assert_true(page->runs_len == 1 && str_eqz(page->runs[0].run, runs[0]));
    assert_int_equal(list(h, (struct script_list_args){.labels = both, .labels_len = 2})->runs_len, 1);
    const struct str pattern[] = {S("\"t.am\":\"x\"")}; /* text, not a pattern */
    assert_int_equal(list(h, (struct script_list_args){.labels = pattern, .labels_len = 1})->runs_len, 0);
}

static void test_a_row_has_live_counters_and_nothing_large(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", &(struct rig_run){.source = "remote"});
    harness_assert_err(audit_batch(h, row, 2, 5, harness_now_ms(h), NULL, NULL), ERR_OK);
    for (int over = 0; over < 2; over++) {
        const struct script_list_runs *shown = &list(h, (struct script_list_args){.limit = 1})->runs[0];
        assert_int_equal(shown->last_seq, 5 + over);
        assert_int_equal(shown->event_count, 5 + over);
        assert_int_equal(shown->event_bytes,
                         strtoll(audit_event(h, audit_id(h, row), -1, "z"), NULL, 10)); /* of the newest entry */
        static const char *const hidden[] = {"input", "result", "env", "a1:status", "a1:tok", "lane", "claimResult"};
        for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
            assert_null(redis_field(shown->record, hidden[i]));
        assert_string_equal(redis_field(shown->record, "status")->str, over ? "success" : "running");
        harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    }
    audit_check(h);
}

static void test_reading_writes_nothing(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    rig_submit(h, NULL);
    struct script_list_args args = {.ws = S("default"), .limit = 10, .examine = 10};
    audit_refuses(h, sync_list(h, &args, NULL), ERR_OK);
    audit_refuses(h, sync_show(h, &(struct script_show_args){.ws = S("default"), .run = row->run, .after = -1}, NULL),
                  ERR_OK);
    audit_refuses(h, sync_queues(h, &(struct script_queues_args){.limit = 10}, NULL), ERR_OK);
    audit_refuses(h, sync_runners(h, &(struct script_runners_args){.limit = 10}, NULL), ERR_OK);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err err = sync_list(h, &args, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_OK); /* and goes on while Redis is full */
}

static void test_queues_and_what_waits_in_them(void **state)
{
    struct harness *h = *state;
    const struct script_queues_reply *reply;
    harness_assert_err(sync_queues(h, &(struct script_queues_args){.limit = 10}, &reply), ERR_OK);
    assert_true(reply->queues_len == 0 && reply->delayed == 0);
    for (int i = 0; i < 3; i++)
        rig_submit(h, &(struct rig_run){.queue = i ? "a" : "b"});
    rig_submit(h, &(struct rig_run){.queue = "a", .delay_ms = 60000});
    harness_assert_err(sync_queues(h, &(struct script_queues_args){.limit = 10}, &reply), ERR_OK);
    assert_true(reply->queues_len == 2 && reply->delayed == 1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(reply->queues[i].waiting, str_eqz(reply->queues[i].name, "a") ? 2 : 1);
    harness_assert_err(sync_queues(h, &(struct script_queues_args){.limit = 1}, &reply), ERR_OK);
    assert_int_equal(reply->queues_len, 1);
}

static void test_runners_and_what_they_hold(void **state)
{
    struct harness *h = *state;
    audit_running(h, "r1", NULL);
    audit_claimed(h, "r1", NULL);
    rig_register(h, "r2");
    harness_do(h, "ZADD %s 1 r2", harness_key(h, "leases")); /* over */
    const struct script_runners_reply *reply;
    harness_assert_err(sync_runners(h, &(struct script_runners_args){.limit = 10}, &reply), ERR_OK);
    assert_int_equal(reply->runners_len, 2);
    const struct script_runners_runners *lost = &reply->runners[0], *live = &reply->runners[1]; /* by deadline */
    assert_true(str_eqz(lost->id, "r2") && lost->held == 0 && lost->lease_ms < 0);
    assert_true(str_eqz(live->id, "r1") && live->held == 2 && live->lease_ms > 0 && live->lease_ms <= LEASE);
    assert_string_equal(redis_field(live->info, "name")->str, "r1");
    assert_string_equal(redis_field(live->info, "state")->str, "live");
    harness_assert_err(sync_runners(h, &(struct script_runners_args){.limit = 1}, &reply), ERR_OK);
    assert_int_equal(reply->runners_len, 1);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pages_over_runs_of_the_same_instant),
        TEST(test_pages_over_more_than_one_chunk),
        TEST(test_a_full_last_page_has_no_next),
        TEST(test_the_ends_of_the_time_range_are_within_it),
        TEST(test_labels_that_only_look_alike),
        TEST(test_a_row_has_live_counters_and_nothing_large),
        TEST(test_reading_writes_nothing),
        TEST(test_queues_and_what_waits_in_them),
        TEST(test_runners_and_what_they_hold),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
