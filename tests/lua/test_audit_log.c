/* audit_add, audit_page, audit_seal, audit_open and audit_trim: numbers without a gap, one seal of two that race, what goes goes up to a seal. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

#define KEPT 100
#define DAY  INT64_C(86400000)

static enum err try_add(struct harness *h, const char *object, int64_t max, int64_t *ret_n)
{
    const struct script_audit_add_reply *reply;
    struct script_audit_add_args args = {.ws = S("default"),
                                         .who = S("root"),
                                         .from = S("192.0.2.1"),
                                         .what = S("stopRun"),
                                         .object = S(object),
                                         .request = S("00"),
                                         .outcome = S(""),
                                         .detail = S(""),
                                         .max = max};
    enum err err = sync_audit_add(h, &args, &reply);
    if (!err)
        *ret_n = reply->n;
    return err;
}

static int64_t add(struct harness *h, const char *object)
{
    int64_t n = 0;
    harness_assert_err(try_add(h, object, KEPT, &n), ERR_OK);
    return n;
}

static const char *id_of(struct harness *h, size_t i)
{
    return harness_entry(h, harness_xrange(h, harness_key(h, "auditlog:default")), i, NULL);
}

static const struct script_audit_seal_reply *seal(struct harness *h, const char *seen, const char *id, int64_t from)
{
    const struct script_audit_seal_reply *reply;
    struct script_audit_seal_args args = {
        .ws = S("default"), .seen = S(seen), .id = S(id), .from = from, .h = S(harness_printf(h, "hash of %s", id))};
    harness_assert_err(sync_audit_seal(h, &args, &reply), ERR_OK);
    return reply;
}

static const struct script_audit_page_reply *page(struct harness *h, struct script_audit_page_args args)
{
    const struct script_audit_page_reply *reply;
    args.ws = S("default");
    args.after = args.after.ptr ? args.after : S("");
    args.count = args.count ? args.count : 50;
    harness_assert_err(sync_audit_page(h, &args, &reply), ERR_OK);
    return reply;
}

static int64_t trim(struct harness *h, int64_t retention_ms, int64_t max_entries)
{
    const struct script_audit_trim_reply *reply;
    harness_assert_err(
        sync_audit_trim(h,
                        &(struct script_audit_trim_args){
                            .ws = S("default"), .retention_ms = retention_ms, .max_entries = max_entries, .max = 200},
                        &reply),
        ERR_OK);
    return reply->trimmed;
}

static bool is_open(struct harness *h)
{
    return harness_int(h, "SISMEMBER %s default", harness_key(h, "auditopen")) == 1;
}

/* The number of an id. */
static int64_t number(const char *id)
{
    return strtoll(strchr(id, '-') + 1, NULL, 10);
}

static void test_numbers_go_up_by_one_whatever_is_removed(void **state)
{
    struct harness *h = *state;
    for (int64_t n = 1; n <= 3; n++)
        assert_int_equal(add(h, "x"), n);
    assert_int_equal(number(id_of(h, 2)), 3);
    const redisReply *entries = harness_xrange(h, harness_key(h, "auditlog:default"));
    assert_string_equal(harness_entry(h, entries, 0, "object"), "x");
    assert_string_equal(harness_entry(h, entries, 0, "from"), "192.0.2.1");
    assert_in_range(strtoll(id_of(h, 0), NULL, 10), harness_now_ms(h) - 5000, harness_now_ms(h));
    assert_true(is_open(h));
    audit_check(h);
    harness_do(h, "XDEL %s %s", harness_key(h, "auditlog:default"), id_of(h, 2));
    assert_int_equal(add(h, "x"), 4);
    harness_do(h, "XTRIM %s MAXLEN 0", harness_key(h, "auditlog:default"));
    assert_int_equal(add(h, "x"), 5);
}

static void test_a_clock_that_was_set_back_turns_nothing_round(void **state)
{
    struct harness *h = *state;
    int64_t ahead = harness_now_ms(h) + DAY;
    harness_do(h, "XADD %s %s who x", harness_key(h, "auditlog:default"),
               harness_printf(h, "%lld-7", (long long)ahead));
    assert_int_equal(add(h, "x"), 8);
    assert_string_equal(id_of(h, 1), harness_printf(h, "%lld-8", (long long)ahead));
}

static void test_a_log_is_bounded(void **state)
{
    struct harness *h = *state;
    int64_t n = 0;
    double score;
    for (int64_t i = 1; i <= 10; i++)
        harness_assert_err(try_add(h, "x", 5, &n), ERR_OK);
    assert_true(harness_zscore(h, harness_key(h, "auditdue"), "default", &score) && score < 1);
    audit_refuses(h, try_add(h, "x", 5, &n), ERR_AUDIT_FULL);
    /* Room is made up to a seal. */
    assert_int_equal(trim(h, DAY, 5), 0);
    (void)seal(h, "", id_of(h, 3), 1);
    (void)seal(h, id_of(h, 3), id_of(h, 7), 5);
    assert_int_equal(trim(h, DAY, 5), 4);
    harness_assert_err(try_add(h, "x", 5, &n), ERR_OK);
    assert_int_equal(n, 11);
    audit_check(h);
}

static void test_of_two_seals_one_wins(void **state)
{
    struct harness *h = *state;
    add(h, "a");
    add(h, "b");
    const char *a = id_of(h, 0), *b = id_of(h, 1);
    const struct script_audit_seal_reply *first = seal(h, "", a, 1), *second = seal(h, "", b, 1);
    assert_true(first->won && first->more && !second->won && second->more && is_open(h));
    const char *key = harness_key(h, "auditseal:default");
    assert_int_equal(harness_xlen(h, key), 1);
    assert_string_equal(harness_entry(h, harness_xrange(h, key), 0, "h"), harness_printf(h, "hash of %s", a));
    second = seal(h, a, b, 2);
    assert_true(second->won && !second->more && !is_open(h));
    second = seal(h, a, b, 2); /* once more: a reply that was lost */
    assert_false(second->won);
    assert_int_equal(harness_xlen(h, key), 2);
    assert_string_equal(harness_entry(h, harness_xrange(h, key), 1, "from"), "2");
    audit_check(h);
}

static void test_what_comes_while_it_is_sealed_stays_open(void **state)
{
    struct harness *h = *state;
    add(h, "a");
    const char *a = id_of(h, 0);
    add(h, "b"); /* behind what the sealer read */
    const struct script_audit_seal_reply *reply = seal(h, "", a, 1);
    assert_true(reply->won && reply->more && is_open(h));
    reply = seal(h, a, "", 0); /* a look that finds nothing new seals nothing */
    assert_true(!reply->won && reply->more && is_open(h));
}

static void test_pages(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 5; i++)
        add(h, harness_printf(h, "o%d", i));
    (void)seal(h, "", id_of(h, 1), 1);
    (void)seal(h, id_of(h, 1), id_of(h, 3), 3);
    const struct script_audit_page_reply *p = page(h, (struct script_audit_page_args){.seals = 1, .count = 3});
    assert_true(p->entries_len == 3 && p->seals_len == 1 && p->more && p->begins == 1 && p->anchor.len == 0);
    p = page(h, (struct script_audit_page_args){.after = p->entries[2].id, .seals = 1, .count = 3});
    assert_true(p->entries_len == 2 && p->seals_len == 1 && !p->more && p->seals[0].from == 3);
    assert_true(str_eqz(redis_str(redis_field(p->entries[1].fields, "object")), "o4"));
    /* Behind the last seal: what the sealer reads. */
    p = page(h, (struct script_audit_page_args){.since_ms = INT64_C(1) << 52, .seals = 1});
    assert_true(p->entries_len == 1 && p->seals_len == 0 && str_eqz(p->anchor, id_of(h, 3)));
    assert_true(str_eqz(p->anchor_h, harness_printf(h, "hash of %s", id_of(h, 3))));
    /* A time in the future, a time in the past. */
    p = page(h, (struct script_audit_page_args){.since_ms = harness_now_ms(h) + DAY});
    assert_true(p->entries_len == 0 && p->begins == 1);
    p = page(h, (struct script_audit_page_args){.until_ms = harness_now_ms(h) - DAY, .seals = 1});
    assert_true(p->entries_len == 0 && p->seals_len == 0);
    /* A log that is not there. */
    harness_do(h, "FLUSHALL");
    p = page(h, (struct script_audit_page_args){.seals = 1});
    assert_true(p->entries_len == 0 && p->begins == 0 && !p->more);
}

static void test_trim_goes_up_to_a_seal_and_keeps_it(void **state)
{
    struct harness *h = *state;
    const char *log = harness_key(h, "auditlog:default"), *seals = harness_key(h, "auditseal:default");
    int64_t old = harness_now_ms(h) - 10 * DAY;
    double score;
    for (int n = 1; n <= 6; n++)
        harness_do(h, "XADD %s %s who x", log, harness_printf(h, "%lld-%d", (long long)old + n, n));
    harness_do(h, "ZADD %s %s default", harness_key(h, "auditdue"), harness_printf(h, "%lld", (long long)old));
    add(h, "new");
    assert_int_equal(trim(h, 5 * DAY, KEPT), 0); /* nothing is sealed */
    (void)seal(h, "", id_of(h, 2), 1);
    const char *third = id_of(h, 2);
    assert_int_equal(trim(h, 50 * DAY, KEPT), 0); /* not old enough */
    assert_int_equal(trim(h, 5 * DAY, KEPT), 3);  /* 4, 5 and 6 are as old, but not sealed */
    assert_int_equal(number(id_of(h, 0)), 4);
    assert_string_equal(harness_entry(h, harness_xrange(h, seals), 0, NULL), third);
    assert_true(seal(h, third, id_of(h, 3), 4)->won); /* 7 is new: the others stay until it is old, too */
    const struct script_audit_page_reply *p = page(h, (struct script_audit_page_args){.seals = 1});
    assert_true(str_eqz(p->anchor, third) && p->begins == 4);
    assert_int_equal(trim(h, 5 * DAY, KEPT), 0);
    assert_true(harness_zscore(h, harness_key(h, "auditdue"), "default", &score));
    assert_true((int64_t)score > old + 6); /* when it is looked at again */
    assert_int_equal(trim(h, -DAY, KEPT), 4);
    assert_false(harness_exists(h, harness_key(h, "auditdue")));
    assert_int_equal(harness_xlen(h, seals), 1);
    assert_int_equal(add(h, "x"), 8);
    p = page(h, (struct script_audit_page_args){.seals = 1});
    assert_true(p->begins == 8 && number(harness_printf(h, "%.*s", STR_ARG(p->anchor))) == 7);
    audit_check(h);
}

static void test_a_step_of_trimming_is_bounded(void **state)
{
    struct harness *h = *state;
    const char *log = harness_key(h, "auditlog:default");
    const char *before = "";
    for (int n = 1; n <= 2400; n++)
        harness_do(h, "XADD %s %s who x", log, harness_printf(h, "1000-%d", n));
    for (int n = 100; n <= 2400; n += 100) {
        const char *id = harness_printf(h, "1000-%d", n);
        (void)seal(h, before, id, n - 99);
        before = id;
    }
    assert_int_equal(trim(h, DAY, 100000), 1000);
    assert_int_equal(trim(h, DAY, 100000), 1000);
    assert_int_equal(trim(h, DAY, 100000), 400);
}

static void test_open_and_due(void **state)
{
    struct harness *h = *state;
    const struct script_audit_open_reply *reply;
    for (int i = 0; i < 40; i++)
        harness_do(h, "SADD %s %s", harness_key(h, "auditopen"), harness_printf(h, "w%d", i));
    harness_do(h, "ZADD %s 5 old %s new", harness_key(h, "auditdue"),
               harness_printf(h, "%lld", (long long)harness_now_ms(h)));
    harness_assert_err(sync_audit_open(h, &(struct script_audit_open_args){.max = 16, .retention_ms = DAY}, &reply),
                       ERR_OK);
    assert_true(reply->open_len == 16 && reply->due_len == 1 && str_eqz(reply->due[0], "old"));
    harness_do(h, "FLUSHALL");
    harness_assert_err(sync_audit_open(h, &(struct script_audit_open_args){.max = 16, .retention_ms = DAY}, &reply),
                       ERR_OK);
    assert_true(reply->open_len == 0 && reply->due_len == 0);
}

static void test_all_of_it_works_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    harness_do(h, "CONFIG SET maxmemory 1");
    add(h, "x");
    assert_true(seal(h, "", id_of(h, 0), 1)->won);
    assert_int_equal(trim(h, -DAY, KEPT), 1);
    harness_do(h, "CONFIG SET maxmemory 0");
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers_go_up_by_one_whatever_is_removed),
        TEST(test_a_clock_that_was_set_back_turns_nothing_round),
        TEST(test_a_log_is_bounded),
        TEST(test_of_two_seals_one_wins),
        TEST(test_what_comes_while_it_is_sealed_stays_open),
        TEST(test_pages),
        TEST(test_trim_goes_up_to_a_seal_and_keeps_it),
        TEST(test_a_step_of_trimming_is_bounded),
        TEST(test_open_and_due),
        TEST(test_all_of_it_works_while_redis_is_full),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
