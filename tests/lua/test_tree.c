/* children, and what bulk actions and redrives need of the scripts: pages of a tree, dead letters, filters of the list, the key of a bulk action. */
#include <stdlib.h>

#include "audit.h"
#include "lua/scripts_sync.h"

enum { PATH_MAX_ = 64 };

/* ---- children ---- */

static enum err children(struct harness *h, struct script_children_args args, const struct script_children_reply **ret)
{
    args.ws = args.ws.ptr ? args.ws : S("default");
    args.limit = args.limit ? args.limit : 100;
    return sync_children(h, &args, ret);
}

/* The whole walk in pages of limit, as "depth:id" with a blank behind each. */
static const char *walk(struct harness *h, const char *root, int64_t limit)
{
    const struct script_children_reply *page;
    struct script_children_path path[PATH_MAX_];
    const char *all = "";
    harness_assert_err(children(h, (struct script_children_args){.root = S(root), .limit = limit}, &page), ERR_OK);
    for (int pages = 0; pages < 500; pages++) {
        assert_true((int64_t)page->runs_len <= limit && page->rest_len < PATH_MAX_);
        for (size_t i = 0; i < page->runs_len; i++)
            all = harness_printf(h, "%s%lld:%.*s ", all, (long long)page->runs[i].depth, STR_ARG(page->runs[i].run));
        if (page->rest_len == 0)
            return all;
        for (size_t i = 0; i < page->rest_len; i++)
            path[i] = (struct script_children_path){page->rest[i].run, page->rest[i].after};
        struct script_children_args args = {.root = S(""), .limit = limit, .path = path, .path_len = page->rest_len};
        harness_assert_err(children(h, args, &page), ERR_OK);
    }
    fail_msg("the walk has no end");
    return NULL;
}

static const char *child_of(struct harness *h, const char *parent)
{
    return rig_submit(h, &(struct rig_run){.parent = parent});
}

static void test_pre_order_in_pages_of_every_size(void **state)
{
    struct harness *h = *state;
    const char *root = rig_submit(h, NULL), *a = child_of(h, root), *b = child_of(h, root), *aa = child_of(h, a),
               *aaa = child_of(h, aa), *ba = child_of(h, b), *ab = child_of(h, a);
    const char *wanted = harness_printf(h, "0:%s 1:%s 2:%s 3:%s 2:%s 1:%s 2:%s ", root, a, aa, aaa, ab, b, ba);
    for (int64_t limit = 1; limit <= 8; limit++)
        assert_string_equal(walk(h, root, limit), wanted);
    assert_string_equal(walk(h, a, 2), harness_printf(h, "0:%s 1:%s 2:%s 1:%s ", a, aa, aaa, ab)); /* from within */
    assert_string_equal(walk(h, ba, 2), harness_printf(h, "0:%s ", ba));
    audit_check(h);
}

static void test_children_of_the_same_instant(void **state)
{
    struct harness *h = *state;
    const char *root = rig_submit(h, NULL);
    for (int i = 0; i < 23; i++)
        harness_do(h, "ZADD %s %s %s", harness_key(h, "run:%s:children", root),
                   i < 20 ? "1700000000000000" : "1700000000000001", child_of(h, root));
    const redisReply *all = harness_do(h, "ZRANGE %s 0 -1", harness_key(h, "run:%s:children", root));
    const char *wanted = harness_printf(h, "0:%s ", root);
    for (size_t i = 0; i < all->elements; i++)
        wanted = harness_printf(h, "%s1:%s ", wanted, all->element[i]->str);
    for (int64_t limit = 1; limit <= 25; limit += 3)
        assert_string_equal(walk(h, root, limit), wanted);
}

static void test_what_is_removed_meanwhile_is_passed_over(void **state)
{
    struct harness *h = *state;
    const char *root = rig_submit(h, NULL), *a = child_of(h, root), *aa = child_of(h, a), *b = child_of(h, root);
    const struct script_children_reply *page;
    harness_assert_err(children(h, (struct script_children_args){.root = S(root), .limit = 2}, &page), ERR_OK);
    assert_true(page->runs_len == 2 && page->rest_len == 2 && str_eqz(page->rest[1].run, a));
    struct script_children_path path[] = {{page->rest[0].run, page->rest[0].after},
                                          {page->rest[1].run, page->rest[1].after}};
    harness_assert_err(rig_stop(h, a), ERR_OK); /* and its child */
    harness_assert_err(sync_delete(h, &(struct script_delete_args){.ws = S("default"), .run = S(aa)}, NULL), ERR_OK);
    harness_assert_err(sync_delete(h, &(struct script_delete_args){.ws = S("default"), .run = S(a)}, NULL), ERR_OK);
    struct script_children_args args = {.root = S(""), .path = path, .path_len = 2};
    harness_assert_err(children(h, args, &page), ERR_OK);
    assert_true(page->runs_len == 1 && str_eqz(page->runs[0].run, b) && page->runs[0].depth == 1 &&
                page->rest_len == 0);
}

static void test_a_node_is_a_summary(void **state)
{
    struct harness *h = *state;
    const char *root = rig_submit(h, NULL);
    child_of(h, root);
    const struct script_children_reply *page;
    harness_assert_err(children(h, (struct script_children_args){.root = S(root)}, &page), ERR_OK);
    assert_int_equal(page->runs_len, 2);
    assert_string_equal(redis_field(page->runs[1].record, "parent")->str, root);
    assert_string_equal(redis_field(page->runs[1].record, "status")->str, "queued");
    assert_null(redis_field(page->runs[1].record, "input"));
    assert_int_equal(page->runs[1].event_count, 0);
}

static void test_whose_tree_is_shown(void **state)
{
    struct harness *h = *state;
    const char *root = rig_submit(h, NULL);
    audit_refuses(h, children(h, (struct script_children_args){.ws = S("other"), .root = S(root)}, NULL),
                  ERR_RUN_NOT_FOUND);
    audit_refuses(h, children(h, (struct script_children_args){.root = S(NOBODY)}, NULL), ERR_RUN_NOT_FOUND);
    audit_refuses(h, children(h, (struct script_children_args){.root = S(root)}, NULL),
                  ERR_OK); /* reading writes nothing */
}

/* ---- dead letters ---- */

static const char *failed(struct harness *h)
{
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", row, "error", 0, NULL), ERR_OK);
    return audit_id(h, row);
}

static size_t listed(struct harness *h, struct script_list_args args)
{
    const struct script_list_reply *reply = NULL;
    args.ws = args.ws.ptr ? args.ws : S("default");
    args.limit = args.examine = 100;
    harness_assert_err(sync_list(h, &args, &reply), ERR_OK);
    return reply->runs_len;
}

static void test_an_error_makes_a_dead_letter_and_a_redrive_takes_it_out(void **state)
{
    struct harness *h = *state;
    const char *bad = failed(h), *other = failed(h);
    rig_submit(h, NULL);
    assert_string_equal(rig_field(h, bad, "deadLetter"), "1");
    assert_int_equal(listed(h, (struct script_list_args){.dead = 1}), 2);
    assert_int_equal(listed(h, (struct script_list_args){.dead = 1, .agent = S("t")}), 2);
    assert_int_equal(listed(h, (struct script_list_args){.dead = 1, .agent = S("u")}), 0);
    const char *again = rig_submit(h, &(struct rig_run){.redrive = bad});
    assert_string_equal(rig_field(h, bad, "redrivenAs"), again);
    assert_string_equal(rig_field(h, bad, "deadLetter"), "");
    assert_int_equal(listed(h, (struct script_list_args){.dead = 1}), 1);
    enum err err;
    audit_refuses(h, (rig_try_submit(h, &(struct rig_run){.redrive = bad}, &err), err), ERR_NOT_DEAD_LETTER);
    audit_refuses(h, (rig_try_submit(h, &(struct rig_run){.redrive = again}, &err), err), ERR_NOT_DEAD_LETTER);
    audit_refuses(h, (rig_try_submit(h, &(struct rig_run){.redrive = NOBODY}, &err), err), ERR_RUN_NOT_FOUND);
    harness_assert_err(sync_delete(h, &(struct script_delete_args){.ws = S("default"), .run = S(other)}, NULL), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "dead:default")));
}

static void test_only_errors_are_dead_letters(void **state)
{
    struct harness *h = *state;
    const struct script_claim_runs *row = audit_running(h, "r1", NULL);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    harness_assert_err(rig_stop(h, rig_submit(h, NULL)), ERR_OK);
    assert_false(harness_exists(h, harness_key(h, "dead:default")));
}

static void test_a_redrive_under_its_key_answers_again(void **state)
{
    struct harness *h = *state;
    struct rig_run o = {.redrive = failed(h), .idem_key = "k"};
    const char *first = rig_submit(h, &o);
    assert_string_equal(rig_submit(h, &o), first);
}

static void test_nobody_redrives_what_is_of_another_workspace(void **state)
{
    struct harness *h = *state;
    const char *bad = failed(h);
    enum err err;
    audit_refuses(h, (rig_try_submit(h, &(struct rig_run){.redrive = bad, .ws = "other"}, &err), err),
                  ERR_RUN_NOT_FOUND);
    assert_int_equal(listed(h, (struct script_list_args){.dead = 1, .ws = S("other")}), 0);
}

/* ---- the list's further filters ---- */

static void test_queue_and_schedule_are_filters(void **state)
{
    struct harness *h = *state;
    rig_submit(h, &(struct rig_run){.queue = "a"});
    const char *ticked = rig_submit(h, &(struct rig_run){.queue = "b"});
    harness_do(h, "HSET %s schedule nightly", harness_key(h, "run:%s", ticked));
    assert_int_equal(listed(h, (struct script_list_args){.queue = S("a")}), 1);
    assert_int_equal(listed(h, (struct script_list_args){.queue = S("c")}), 0);
    assert_int_equal(listed(h, (struct script_list_args){.schedule = S("nightly")}), 1);
    assert_int_equal(listed(h, (struct script_list_args){.schedule = S("nightly"), .queue = S("a")}), 0);
}

static void test_a_brief_row_and_what_was_examined(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 5; i++)
        rig_submit(h, &(struct rig_run){.queue = i % 2 ? "a" : "b"});
    const struct script_list_reply *reply = NULL;
    struct script_list_args args = {.ws = S("default"), .queue = S("a"), .limit = 3, .examine = 3, .brief = 1};
    harness_assert_err(sync_list(h, &args, &reply), ERR_OK);
    assert_true(reply->examined == 3 && reply->runs_len == 1 && reply->next.len > 0);
    assert_int_equal(reply->runs[0].record->elements, 2);
    assert_string_equal(redis_field(reply->runs[0].record, "status")->str, "queued");
    args.cursor = reply->next;
    harness_assert_err(sync_list(h, &args, &reply), ERR_OK);
    assert_true(reply->examined == 2 && reply->runs_len == 1 && reply->next.len == 0);
}

/* ---- the key of a bulk action ---- */

static void test_a_bulk_key_keeps_when_it_came_first(void **state)
{
    struct harness *h = *state;
    struct script_bulk_args args = {.ws = S("default"), .idem_key = S("k"), .idem_digest = S("d")};
    const struct script_bulk_reply *first, *again;
    int64_t before = harness_now_ms(h);
    harness_assert_err(sync_bulk(h, &args, &first), ERR_OK);
    assert_true(first->start_us >= before * 1000);
    harness_assert_err(sync_bulk(h, &args, &again), ERR_OK);
    assert_true(again->start_us == first->start_us);
    args.idem_digest = S("e");
    audit_refuses(h, sync_bulk(h, &args, NULL), ERR_IDEMPOTENCY_MISMATCH);
    enum err err;
    audit_refuses(h, (rig_try_submit(h, &(struct rig_run){.idem_key = "k"}, &err), err), ERR_IDEMPOTENCY_MISMATCH);
    /* A walk from that position sees what was there then, and nothing younger. */
    const char *young = rig_submit(h, NULL);
    const char *from = harness_printf(h, "%lld:0", (long long)first->start_us);
    assert_int_equal(listed(h, (struct script_list_args){.cursor = S(from)}), 0);
    harness_do(h, "ZADD %s %s %s", harness_key(h, "idx:default"),
               harness_printf(h, "%lld", (long long)first->start_us - 1), young);
    assert_int_equal(listed(h, (struct script_list_args){.cursor = S(from)}), 1);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pre_order_in_pages_of_every_size),
        TEST(test_children_of_the_same_instant),
        TEST(test_what_is_removed_meanwhile_is_passed_over),
        TEST(test_a_node_is_a_summary),
        TEST(test_whose_tree_is_shown),
        TEST(test_an_error_makes_a_dead_letter_and_a_redrive_takes_it_out),
        TEST(test_only_errors_are_dead_letters),
        TEST(test_a_redrive_under_its_key_answers_again),
        TEST(test_nobody_redrives_what_is_of_another_workspace),
        TEST(test_queue_and_schedule_are_filters),
        TEST(test_a_brief_row_and_what_was_examined),
        TEST(test_a_bulk_key_keeps_when_it_came_first),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
