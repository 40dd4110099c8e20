/* trust_put, trust_get, trust_list, trust_delete, trust_find, trust_use, trust_release: policies of a workspace and no other, bounded; and a token that is taken once, under the policy it was found to fit. */
#include <stdlib.h>

#include "audit.h"
#include "common/err.h"
#include "lua/scripts_sync.h"

static enum err put(struct harness *h, const char *ws, const char *name, const char *issuer, const char *uri,
                    const struct script_trust_put_reply **ret_reply)
{
    struct script_trust_put_args args = {.ws = S(ws),
                                         .name = S(name),
                                         .issuer = S(issuer),
                                         .jwks_uri = S(uri),
                                         .policy = S("{\"a\":1}"),
                                         .by = S("root"),
                                         .max = 3};
    return sync_trust_put(h, &args, ret_reply);
}

static size_t found(struct harness *h, const char *ws, const char *issuer, const char *name,
                    const struct script_trust_find_reply **ret_reply)
{
    struct script_trust_find_args args = {.ws = S(ws), .issuer = S(issuer), .name = S(name), .max = 3};
    harness_assert_err(sync_trust_find(h, &args, ret_reply), ERR_OK);
    return (*ret_reply)->policies_len;
}

static enum err use(struct harness *h, const char *name, struct str version, const char *digest)
{
    struct script_trust_use_args args = {
        .ws = S("w"), .name = S(name), .version = version, .digest = S(digest), .keep_ms = 60000};
    return sync_trust_use(h, &args, NULL);
}

static void test_put_get_list_delete(void **state)
{
    struct harness *h = *state;
    const struct script_trust_put_reply *is;
    const struct script_trust_get_reply *got;
    const struct script_trust_list_reply *all;
    harness_assert_err(put(h, "w", "b", "i", "", &is), ERR_OK);
    assert_int_equal(is->created, 1);
    harness_assert_err(put(h, "w", "a", "i", "", &is), ERR_OK);
    harness_assert_err(put(h, "v", "b", "i", "", &is), ERR_OK); /* another's of the same name */
    assert_int_equal(is->created, 1);
    harness_assert_err(put(h, "w", "b", "j", "", &is), ERR_OK);
    assert_int_equal(is->created, 0);
    harness_assert_hget(h, harness_key(h, "trust:w:b"), "issuer", "j");
    harness_assert_hget(h, harness_key(h, "trust:v:b"), "issuer", "i");
    struct script_trust_get_args get = {.ws = S("w"), .name = S("b")};
    harness_assert_err(sync_trust_get(h, &get, &got), ERR_OK);
    struct script_trust_list_args list = {.ws = S("w"), .max = 3};
    harness_assert_err(sync_trust_list(h, &list, &all), ERR_OK);
    assert_int_equal(all->policies_len, 2);
    assert_true(str_eqz(all->policies[0].name, "a") && str_eqz(all->policies[1].name, "b"));
    struct script_trust_delete_args del = {.ws = S("w"), .name = S("b")};
    harness_assert_err(sync_trust_delete(h, &del, NULL), ERR_OK);
    harness_assert_err(sync_trust_delete(h, &del, NULL), ERR_TRUST_NOT_FOUND);
    harness_assert_err(sync_trust_get(h, &get, &got), ERR_TRUST_NOT_FOUND);
    assert_true(harness_exists(h, harness_key(h, "trust:v:b")));
    del = (struct script_trust_delete_args){.ws = S("v"), .name = S("b")};
    harness_assert_err(sync_trust_delete(h, &del, NULL), ERR_OK);
    del = (struct script_trust_delete_args){.ws = S("w"), .name = S("a")};
    harness_assert_err(sync_trust_delete(h, &del, NULL), ERR_OK);
    assert_string_equal(harness_keys(h, harness_key(h, "*")), "");
}

static void test_bounded(void **state)
{
    struct harness *h = *state;
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++)
        harness_assert_err(put(h, "w", names[i], "i", "", NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_assert_err(put(h, "w", "d", "i", "", NULL), ERR_LIMIT_EXCEEDED);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(put(h, "w", "c", "j", "", NULL), ERR_OK);
    harness_assert_err(put(h, "v", "d", "i", "", NULL), ERR_OK);
}

static void test_policies_of_one_issuer_name_the_same_keys(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "w", "a", "i", "", NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_assert_err(put(h, "w", "b", "i", "https://k", NULL), ERR_TRUST_CONFLICT);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(put(h, "w", "b", "j", "https://k", NULL), ERR_OK);
    harness_assert_err(put(h, "v", "b", "i", "https://k", NULL), ERR_OK);
    harness_assert_err(put(h, "w", "a", "i", "https://k", NULL), ERR_OK); /* the only one of its issuer changes */
}

static void test_found_by_issuer_within_the_workspace(void **state)
{
    struct harness *h = *state;
    const struct script_trust_find_reply *f;
    harness_assert_err(put(h, "w", "a", "i", "", NULL), ERR_OK);
    harness_assert_err(put(h, "w", "b", "j", "", NULL), ERR_OK);
    harness_assert_err(put(h, "w", "c", "i", "", NULL), ERR_OK);
    harness_assert_err(put(h, "v", "d", "i", "", NULL), ERR_OK);
    assert_int_equal(found(h, "w", "i", "", &f), 2);
    assert_true(str_eqz(f->policies[0].name, "a") && str_eqz(f->policies[0].policy, "{\"a\":1}") &&
                str_eqz(f->policies[1].name, "c"));
    assert_int_equal(found(h, "w", "i", "c", &f), 1);
    assert_int_equal(found(h, "w", "i", "b", &f), 0); /* of another issuer */
    assert_int_equal(found(h, "w", "i", "d", &f), 0); /* of another workspace */
    assert_int_equal(found(h, "w", "k", "", &f), 0);
    assert_int_equal(found(h, "nobody", "i", "", &f), 0);
}

static void test_a_token_is_taken_once(void **state)
{
    struct harness *h = *state;
    const struct script_trust_find_reply *f;
    harness_assert_err(put(h, "w", "a", "i", "", NULL), ERR_OK);
    assert_int_equal(found(h, "w", "i", "", &f), 1);
    struct str version = f->policies[0].version;
    harness_assert_err(use(h, "a", version, "d1"), ERR_OK);
    harness_assert_err(use(h, "a", version, "d1"), ERR_TOKEN_USED);
    harness_assert_err(use(h, "a", version, "d2"), ERR_OK);
    int64_t left = harness_int(h, "PTTL %s", harness_key(h, "used:d1"));
    assert_true(left > 50000 && left <= 60000);
    struct script_trust_release_args release = {.digest = S("d1")};
    harness_assert_err(sync_trust_release(h, &release, NULL), ERR_OK);
    harness_assert_err(use(h, "a", version, "d1"), ERR_OK);
    harness_assert_err(use(h, "a", version, "d2"), ERR_TOKEN_USED);
    /* a policy that was changed or removed since it was looked at takes nothing, and the token is not used up */
    harness_assert_err(put(h, "w", "a", "i", "", NULL), ERR_OK);
    harness_assert_err(use(h, "a", version, "d3"), ERR_TRUST_NOT_FOUND);
    harness_assert_err(use(h, "b", version, "d3"), ERR_TRUST_NOT_FOUND);
    harness_assert_err(use(h, "b", STR(""), "d3"), ERR_TRUST_NOT_FOUND);
    assert_false(harness_exists(h, harness_key(h, "used:d3")));
}

static void test_distrust_works_while_redis_is_full(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "w", "a", "i", "", NULL), ERR_OK);
    harness_do(h, "CONFIG SET maxmemory 1");
    struct script_trust_delete_args del = {.ws = S("w"), .name = S("a")};
    enum err err = sync_trust_delete(h, &del, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(err, ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_put_get_list_delete, harness_test_start),
        cmocka_unit_test_setup(test_bounded, harness_test_start),
        cmocka_unit_test_setup(test_policies_of_one_issuer_name_the_same_keys, harness_test_start),
        cmocka_unit_test_setup(test_found_by_issuer_within_the_workspace, harness_test_start),
        cmocka_unit_test_setup(test_a_token_is_taken_once, harness_test_start),
        cmocka_unit_test_setup(test_distrust_works_while_redis_is_full, harness_test_start),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
