/* Bundles in Redis: uploads, what counts as a user of one, what nobody uses, storage; and an agent's versions, which use them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "lua/scripts_sync.h"

#define HEX   "00000000000000000000000000000000000000000000000000000000000000aa"
#define HEX2  "00000000000000000000000000000000000000000000000000000000000000bb"
#define CHUNK 10
#define DAY   86400000

static enum err begin_of(struct harness *h, const char *ws, const char *hex, int64_t bytes,
                         const struct script_bundle_begin_reply **ret_reply)
{
    struct script_bundle_begin_args args = {.ws = S(ws),
                                            .hex = S(hex),
                                            .bytes = bytes,
                                            .files = -1,
                                            .unpacked = -1,
                                            .chunk_bytes = CHUNK,
                                            .max_bundles = 3};
    return sync_bundle_begin(h, &args, ret_reply);
}

static enum err chunk(struct harness *h, const char *hex, int64_t n, const char *data,
                      const struct script_bundle_chunk_reply **ret_reply)
{
    struct script_bundle_chunk_args args = {.ws = S("default"), .hex = S(hex), .n = n, .data = S(data)};
    return sync_bundle_chunk(h, &args, ret_reply);
}

/* What who verifies it sees before the first chunk. */
static int64_t puts_of(struct harness *h, const char *hex)
{
    const struct script_bundle_get_reply *reply;
    struct script_bundle_get_args args = {.ws = S("default"), .hex = S(hex)};
    harness_assert_err(sync_bundle_get(h, &args, &reply), ERR_OK);
    return reply->puts;
}

static enum err done(struct harness *h, const char *ws, const char *hex, int64_t puts, bool good)
{
    struct script_bundle_done_args args = {.ws = S(ws), .hex = S(hex), .puts = puts, .good = good};
    return sync_bundle_done(h, &args, NULL);
}

static enum err forget(struct harness *h, const char *ws, const char *hex)
{
    return sync_bundle_delete(h, &(struct script_bundle_delete_args){.ws = S(ws), .hex = S(hex)}, NULL);
}

/* A bundle of 15 bytes in two chunks, complete. */
static void store(struct harness *h, const char *hex)
{
    harness_assert_err(begin_of(h, "default", hex, 15, NULL), ERR_OK);
    harness_assert_err(chunk(h, hex, 0, "0123456789", NULL), ERR_OK);
    harness_assert_err(chunk(h, hex, 1, "01234", NULL), ERR_OK);
    harness_assert_err(done(h, "default", hex, puts_of(h, hex), true), ERR_OK);
}

enum { DEF_WORDS = 28 };

/* The fields of a definition that names a bundle. */
static void define(struct harness *h, const char *hex, const char *concurrency, struct str ret_def[DEF_WORDS])
{
    const struct str def[DEF_WORDS] = {
        S("json"),         S("{}"),      S("queue"),         S("default"),
        S("timeoutMs"),    S("1000"),    S("graceMs"),       S("100"),
        S("maxAttempts"),  S("1"),       S("atMostOnce"),    S("0"),
        S("backoffType"),  S("fixed"),   S("backoffBaseMs"), S("1"),
        S("backoffCapMs"), S("1"),       S("source"),        S("stdout"),
        S("executor"),     S("process"), S("concurrency"),   S(concurrency),
        S("rate"),         S(""),        S("bundle"),        S(harness_printf(h, "default:%s", hex))};
    memcpy(ret_def, def, sizeof def);
}

static enum err put_agent(struct harness *h, const char *ws, const char *digest, const char *hex,
                          const char *concurrency)
{
    struct str def[DEF_WORDS];
    define(h, hex, concurrency, def);
    struct script_agent_put_args args = {.ws = S(ws),
                                         .name = S("a"),
                                         .digest = S(digest),
                                         .def_fields = def,
                                         .def_fields_len = DEF_WORDS,
                                         .max_agents = 10,
                                         .max_versions = 2};
    return sync_agent_put(h, &args, NULL);
}

static enum err submit(struct harness *h, const char *ws, const char *run, const char *hex)
{
    struct str def[DEF_WORDS];
    define(h, hex, "", def);
    struct script_submit_args args = {.run = S(run),
                                      .ws = S(ws),
                                      .idem_key = S(""),
                                      .idem_digest = S(""),
                                      .agent = S(""),
                                      .def_digest = S("inline"),
                                      .version = S(""),
                                      .def_fields = def,
                                      .def_fields_len = DEF_WORDS,
                                      .queue = S(""),
                                      .priority = S("normal"),
                                      .parent = S(""),
                                      .on_limit = S("queue"),
                                      .on_dep_fail = S("fail"),
                                      .retention_ms = RETAIN,
                                      .queue_max = 100,
                                      .rid = S(RID),
                                      .redrive = S("")};
    return sync_submit(h, &args, NULL);
}

static enum err put_schedule(struct harness *h, const char *ws, const char *hex)
{
    struct str def[DEF_WORDS];
    define(h, hex, "", def);
    struct script_schedule_put_args args = {.ws = S(ws),
                                            .name = S("s"),
                                            .seen = S(""),
                                            .create = 1,
                                            .cron = S(""),
                                            .every_ms = 1000,
                                            .zone = S("UTC"),
                                            .overlap = S("skip"),
                                            .catch_up = S("skip"),
                                            .created_ms = 1,
                                            .first_ms = harness_now_ms(h) + DAY,
                                            .run_json = S("{}"),
                                            .agent = S(""),
                                            .def_digest = S("scheduled"),
                                            .queue = S(""),
                                            .priority = S("normal"),
                                            .on_limit = S("queue"),
                                            .queue_max = 100,
                                            .retention_ms = RETAIN,
                                            .max_schedules = 10,
                                            .def_fields = def,
                                            .def_fields_len = DEF_WORDS};
    return sync_schedule_put(h, &args, NULL);
}

/* Definitions that name it; -1: it is not there. */
static int64_t refs(struct harness *h, const char *hex)
{
    const char *key = harness_key(h, "bundle:default:%s", hex), *n = harness_hget(h, key, "refs");
    return !harness_exists(h, key) ? -1 : n ? strtoll(n, NULL, 10) : 0;
}

/* When it goes, from now; -1: it stays. */
static int64_t goes_in_ms(struct harness *h, const char *hex)
{
    double at;
    return harness_zscore(h, harness_key(h, "bundledue"), harness_printf(h, "default:%s", hex), &at)
               ? (int64_t)at - harness_now_ms(h)
               : -1;
}

static void sweep(struct harness *h)
{
    harness_assert_err(sync_sweep(h, &(struct script_sweep_args){.max = 100}, NULL), ERR_OK);
}

/* ---- uploads ---- */

static void test_an_upload_from_end_to_end(void **state)
{
    struct harness *h = *state;
    const struct script_bundle_begin_reply *begun;
    const struct script_bundle_get_reply *got;
    struct script_bundle_get_args get = {.ws = S("default"), .hex = S(HEX)};
    harness_assert_err(begin_of(h, "default", HEX, 25, &begun), ERR_OK);
    assert_int_equal(begun->chunks, 3);
    assert_int_equal(begun->missing_len, 3);
    harness_assert_err(chunk(h, HEX, 1, "0123456789", NULL), ERR_OK);
    harness_assert_err(begin_of(h, "default", HEX, 25, &begun), ERR_OK);
    assert_int_equal(begun->missing_len, 2);
    assert_true(str_eqz(begun->missing[0], "0") && str_eqz(begun->missing[1], "2"));
    audit_check(h);
    harness_assert_err(sync_bundle_get(h, &get, &got), ERR_OK);
    int64_t seen = got->puts;
    assert_int_equal(got->complete, 0);
    /* Verified, but a chunk came meanwhile. */
    harness_assert_err(chunk(h, HEX, 0, "0123456789", NULL), ERR_OK);
    audit_refuses(h, done(h, "default", HEX, seen, true), ERR_BUNDLE_INCOMPLETE);
    harness_assert_err(chunk(h, HEX, 2, "01234", NULL), ERR_OK);
    /* Another upload took its place, with as many chunks. */
    int64_t before = puts_of(h, HEX);
    harness_assert_err(begin_of(h, "default", HEX, 24, NULL), ERR_OK);
    harness_assert_err(begin_of(h, "default", HEX, 25, NULL), ERR_OK);
    harness_assert_err(chunk(h, HEX, 0, "0123456789", NULL), ERR_OK);
    harness_assert_err(chunk(h, HEX, 1, "0123456789", NULL), ERR_OK);
    harness_assert_err(chunk(h, HEX, 2, "01234", NULL), ERR_OK);
    audit_refuses(h, done(h, "default", HEX, before, true), ERR_BUNDLE_INCOMPLETE);
    harness_assert_err(done(h, "default", HEX, puts_of(h, HEX), true), ERR_OK);
    harness_assert_err(begin_of(h, "default", HEX, 25, &begun), ERR_OK);
    assert_int_equal(begun->complete, 1);
    harness_assert_err(chunk(h, HEX, 2, "43210", NULL), ERR_OK); /* too late: nothing is written */
    assert_string_equal(harness_get(h, harness_key(h, "bundle:default:" HEX ":2")), "01234");
    assert_int_equal(harness_int(h, "HGET %s bytes", harness_key(h, "use:default")), 25);
    audit_check(h);
    harness_assert_err(forget(h, "default", HEX), ERR_OK);
    assert_string_equal(harness_keys(h, "*"), "");
}

static void test_wrong_bytes_are_thrown_away(void **state)
{
    struct harness *h = *state;
    const struct script_bundle_begin_reply *begun;
    harness_assert_err(begin_of(h, "default", HEX, 15, NULL), ERR_OK);
    harness_assert_err(chunk(h, HEX, 0, "0123456789", NULL), ERR_OK);
    harness_assert_err(chunk(h, HEX, 1, "01234", NULL), ERR_OK);
    int64_t seen = puts_of(h, HEX);
    harness_assert_err(done(h, "default", HEX, seen, false), ERR_OK);
    harness_assert_err(begin_of(h, "default", HEX, 15, &begun), ERR_OK);
    assert_int_equal(begun->missing_len, 2);
    audit_refuses(h, done(h, "default", HEX, seen, true), ERR_BUNDLE_INCOMPLETE); /* who read the old ones */
    audit_check(h);
}

static void test_chunks_that_do_not_fit(void **state)
{
    struct harness *h = *state;
    const struct script_bundle_chunk_reply *reply;
    audit_refuses(h, chunk(h, HEX, 0, "0123456789", NULL), ERR_BUNDLE_NOT_FOUND);
    audit_refuses(h, done(h, "default", HEX, 0, true), ERR_BUNDLE_NOT_FOUND);
    harness_assert_err(begin_of(h, "default", HEX, 20, NULL), ERR_OK);
    audit_refuses(h, chunk(h, HEX, 2, "0123456789", NULL), ERR_INVALID_PARAMETER);
    audit_refuses(h, chunk(h, HEX, 1, "012345678", NULL), ERR_INVALID_FIELD);
    audit_refuses(h, chunk(h, HEX, 1, "01234567890", NULL), ERR_INVALID_FIELD);
    (void)chunk(h, HEX, 1, "", &reply);
    assert_int_equal(reply->bytes, 10); /* a last one that is whole */
    harness_assert_err(chunk(h, HEX, 1, "0123456789", NULL), ERR_OK);
    audit_refuses(h, done(h, "other", HEX, 1, true), ERR_BUNDLE_NOT_FOUND);
    audit_refuses(h, forget(h, "other", HEX), ERR_BUNDLE_NOT_FOUND);
    audit_check(h);
}

static void test_storage_and_number_are_bounded(void **state)
{
    struct harness *h = *state;
    const struct str fields[] = {S("bytesMax"), S("30")};
    const struct script_ws_put_args ws = {
        .ws = S("default"), .max_workspaces = 9, .fields = fields, .fields_len = ARRAY_LEN(fields)};
    harness_assert_err(sync_ws_put(h, &ws, NULL), ERR_OK);
    harness_assert_err(begin_of(h, "default", HEX, 20, NULL), ERR_OK);
    audit_refuses(h, begin_of(h, "default", HEX2, 11, NULL), ERR_QUOTA_EXCEEDED);
    audit_refuses(h, begin_of(h, "default", HEX, 31, NULL), ERR_QUOTA_EXCEEDED);
    harness_assert_err(begin_of(h, "default", HEX, 30, NULL), ERR_OK); /* in the place of its own 20 */
    assert_int_equal(harness_int(h, "HGET %s bytes", harness_key(h, "use:default")), 30);
    audit_check(h);
    for (int i = 0; i < 3; i++)
        harness_assert_err(begin_of(h, "other", harness_printf(h, "%064d", i), 1, NULL), ERR_OK);
    audit_refuses(h, begin_of(h, "other", HEX, 1, NULL), ERR_LIMIT_EXCEEDED);
    audit_check(h);
}

/* ---- users ---- */

static void test_only_a_complete_bundle_of_the_workspace_can_be_named(void **state)
{
    struct harness *h = *state;
    harness_assert_err(begin_of(h, "default", HEX, 15, NULL), ERR_OK);
    store(h, HEX2);
    const struct {
        const char *ws, *hex;
    } bad[] = {{"default", HEX},
               {"other", HEX2},
               {"default", "00000000000000000000000000000000000000000000000000000000000000cc"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        audit_refuses(h, put_agent(h, bad[i].ws, "d1", bad[i].hex, ""), ERR_BUNDLE_NOT_FOUND);
        audit_refuses(h, submit(h, bad[i].ws, NOBODY, bad[i].hex), ERR_BUNDLE_NOT_FOUND);
        audit_refuses(h, put_schedule(h, bad[i].ws, bad[i].hex), ERR_BUNDLE_NOT_FOUND);
    }
    audit_check(h);
}

static void test_agents_runs_and_schedules_are_users(void **state)
{
    struct harness *h = *state;
    static const char *const run = "00000000-0000-4000-8000-000000000001";
    store(h, HEX);
    assert_int_equal(refs(h, HEX), 0);
    assert_in_range(goes_in_ms(h, HEX), DAY - 60000, DAY);
    harness_assert_err(put_agent(h, "default", "d1", HEX, ""), ERR_OK);
    assert_int_equal(refs(h, HEX), 1);
    assert_int_equal(goes_in_ms(h, HEX), -1);
    harness_assert_err(submit(h, "default", run, HEX), ERR_OK);
    harness_assert_err(put_schedule(h, "default", HEX), ERR_OK);
    assert_int_equal(refs(h, HEX), 3);
    audit_refuses(h, forget(h, "default", HEX), ERR_BUNDLE_IN_USE);
    audit_check(h);
    harness_assert_err(
        sync_agent_delete(h, &(struct script_agent_delete_args){.ws = S("default"), .name = S("a")}, NULL), ERR_OK);
    harness_assert_err(
        sync_schedule_delete(h, &(struct script_schedule_delete_args){.ws = S("default"), .name = S("s")}, NULL),
        ERR_OK);
    assert_int_equal(refs(h, HEX), 1);
    assert_int_equal(goes_in_ms(h, HEX), -1);
    audit_check(h);
    harness_assert_err(rig_stop(h, run), ERR_OK);
    harness_assert_err(sync_delete(h, &(struct script_delete_args){.ws = S("default"), .run = S(run)}, NULL), ERR_OK);
    assert_int_equal(refs(h, HEX), 0);
    assert_in_range(goes_in_ms(h, HEX), DAY - 60000, DAY);
    audit_check(h);
}

static void test_what_nobody_uses_goes_after_a_day(void **state)
{
    struct harness *h = *state;
    const char *due = harness_key(h, "bundledue");
    store(h, HEX);
    harness_assert_err(begin_of(h, "default", HEX2, 15, NULL), ERR_OK);
    harness_assert_err(chunk(h, HEX2, 1, "01234", NULL), ERR_OK);
    sweep(h);
    assert_true(refs(h, HEX) == 0 && refs(h, HEX2) == 0);
    /* Each chunk, and each question for it, gives it another day. */
    harness_do(h, "ZADD %s 1 default:%s 1 default:%s", due, HEX, HEX2);
    harness_assert_err(chunk(h, HEX2, 0, "0123456789", NULL), ERR_OK);
    harness_assert_err(begin_of(h, "default", HEX, 15, NULL), ERR_OK);
    assert_true(goes_in_ms(h, HEX) > DAY - 60000 && goes_in_ms(h, HEX2) > DAY - 60000);
    harness_do(h, "ZADD %s 1 default:%s", due, HEX2);
    sweep(h);
    assert_true(refs(h, HEX) == 0 && refs(h, HEX2) == -1);
    assert_int_equal(harness_int(h, "EXISTS %s", harness_key(h, "bundle:default:" HEX2 ":1")), 0);
    assert_int_equal(harness_int(h, "HGET %s bytes", harness_key(h, "use:default")), 15);
    audit_check(h);
    harness_do(h, "ZADD %s 1 default:%s", due, HEX);
    sweep(h);
    assert_string_equal(harness_keys(h, "*"), "");
}

/* ---- the audit ---- */

static void test_the_audit_finds_what_is_wrong_with_bundles(void **state)
{
    struct harness *h = *state;
    const struct {
        const char *command, *finding;
    } faults[] = {
        {"DEL errand:{0}:bundle:default:" HEX ":1", "bundle:default:" HEX ": is complete without its chunk 1"},
        {"ZREM errand:{0}:bundles:default " HEX, "bundle:default:" HEX ": is a bundle that no list has"},
        {"ZREM errand:{0}:bundledue default:" HEX2, "bundle:default:" HEX2 ": is used by nobody and does not expire"},
        {"ZADD errand:{0}:bundledue 1 default:" HEX,
         "bundledue: lets the bundle default:" HEX " expire, which is used"},
        {"ZADD errand:{0}:bundledue 1 default:x", "bundledue: lets the bundle default:x expire, which is gone"},
        {"ZADD errand:{0}:bundles:other 1 x", "bundles:other: names the bundle x, which is gone"},
        {"SET errand:{0}:bundle:default:cc:0 x", "bundle:default:cc:0: is a chunk of no bundle"},
        {"HINCRBY errand:{0}:bundle:default:" HEX " refs 1", "bundle:default:" HEX ": counts 1 users too many"},
        {"HINCRBY errand:{0}:use:default bytes 1", "use:default: counts 1 bytes too many"},
    };
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        (void)harness_do(h, "FLUSHALL");
        store(h, HEX);
        store(h, HEX2);
        harness_assert_err(put_agent(h, "default", "d1", HEX, ""), ERR_OK);
        audit_check(h);
        char command[256];
        snprintf(command, sizeof command, "%s", faults[i].command);
        const char *words[6];
        size_t n = 0;
        for (char *save = NULL, *word = strtok_r(command, " ", &save); word; word = strtok_r(NULL, " ", &save))
            words[n++] = word;
        while (n < ARRAY_LEN(words))
            words[n++] = "";
        (void)(words[2][0] == 0   ? harness_do(h, "%s %s", words[0], words[1])
               : words[3][0] == 0 ? harness_do(h, "%s %s %s", words[0], words[1], words[2])
                                  : harness_do(h, "%s %s %s %s", words[0], words[1], words[2], words[3]));
        if (!strstr(audit_findings(h), faults[i].finding))
            fail_msg("%s: not among\n%s", faults[i].finding, audit_findings(h));
    }
}

/* ---- versions ---- */

static void test_a_rollback_is_a_version_that_uses_the_bundle(void **state)
{
    struct harness *h = *state;
    const struct script_agent_rollback_reply *back;
    const struct script_agent_versions_reply *all;
    struct script_agent_rollback_args args = {.ws = S("default"), .name = S("a"), .version = 1, .max_versions = 2};
    store(h, HEX);
    store(h, HEX2);
    harness_assert_err(put_agent(h, "default", "d1", HEX, "1"), ERR_OK);
    harness_assert_err(put_agent(h, "default", "d2", HEX2, ""), ERR_OK);
    assert_null(harness_hget(h, harness_key(h, "limits:default"), "a:a"));
    /* The version that it goes back to is the one that is dropped for it. */
    harness_assert_err(sync_agent_rollback(h, &args, &back), ERR_OK);
    assert_int_equal(back->version, 3);
    assert_true(str_eqz(back->digest, "d1"));
    assert_true(refs(h, HEX) == 1 && refs(h, HEX2) == 1);
    harness_assert_hget(h, harness_key(h, "limits:default"), "a:a", "1");
    audit_check(h);
    audit_refuses(h, sync_agent_rollback(h, &args, NULL), ERR_AGENT_NOT_FOUND); /* version 1 is gone */
    args.version = 3;
    harness_assert_err(sync_agent_rollback(h, &args, &back), ERR_OK);
    assert_int_equal(back->version, 3);
    harness_assert_err(
        sync_agent_versions(h, &(struct script_agent_versions_args){.ws = S("default"), .name = S("a")}, &all), ERR_OK);
    assert_int_equal(all->versions_len, 2);
    assert_int_equal(all->versions[0].version, 3);
    assert_int_equal(all->versions[1].version, 2);
    assert_true(str_eqz(all->versions[0].bundle, "default:" HEX));
    harness_assert_err(put_agent(h, "default", "d3", HEX, ""), ERR_OK);
    assert_true(refs(h, HEX) == 2 && refs(h, HEX2) == 0);
    audit_check(h);
    args.ws = S("other");
    audit_refuses(h, sync_agent_rollback(h, &args, NULL), ERR_AGENT_NOT_FOUND);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup(fn, harness_test_start)
    const struct CMUnitTest tests[] = {
        TEST(test_an_upload_from_end_to_end),
        TEST(test_wrong_bytes_are_thrown_away),
        TEST(test_chunks_that_do_not_fit),
        TEST(test_storage_and_number_are_bounded),
        TEST(test_only_a_complete_bundle_of_the_workspace_can_be_named),
        TEST(test_agents_runs_and_schedules_are_users),
        TEST(test_what_nobody_uses_goes_after_a_day),
        TEST(test_the_audit_finds_what_is_wrong_with_bundles),
        TEST(test_a_rollback_is_a_version_that_uses_the_bundle),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
