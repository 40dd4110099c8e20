/* Secrets in Redis: versions that never come again, what an attempt is given, who is given anything, rekeying by compare and set, and what an API node finds for the redaction of a remote attempt. */
#include <stdlib.h>

#include "api/attempt_secrets.h"
#include "audit.h"
#include "common/crypto.h"
#include "common/secret.h"
#include "common/vault.h"
#include "lua/scripts_sync.h"

static enum err put(struct harness *h, const char *ws, const char *name, int64_t version, const char *sealed,
                    const struct script_secret_put_reply **ret_reply)
{
    struct script_secret_put_args args = {
        .ws = S(ws), .name = S(name), .version = version, .sealed = S(sealed), .max_secrets = 3, .max_versions = 3};
    return sync_secret_put(h, &args, ret_reply);
}

static enum err forget(struct harness *h, const char *ws, const char *name)
{
    return sync_secret_delete(h, &(struct script_secret_delete_args){.ws = S(ws), .name = S(name)}, NULL);
}

static enum err show(struct harness *h, const char *name, const struct script_secret_show_reply **ret_reply)
{
    return sync_secret_show(h, &(struct script_secret_show_args){.ws = S("default"), .name = S(name)}, ret_reply);
}

static void test_a_secret_is_all_of_this(void **state)
{
    struct harness *h = *state;
    const struct script_secret_put_reply *reply;
    int64_t before = harness_now_ms(h);
    harness_assert_err(put(h, "default", "A", 1, "sealed 1", &reply), ERR_OK);
    assert_true(reply->version == 1 && reply->created == 1 && reply->created_ms == reply->updated_ms);
    harness_assert_err(put(h, "default", "A", 2, "sealed 2", &reply), ERR_OK);
    assert_true(reply->version == 2 && reply->created == 0 && reply->created_ms <= reply->updated_ms);
    assert_string_equal(harness_keys(h, "*"), harness_printf(h, "%s\n%s\n", harness_key(h, "secret:default:A"),
                                                             harness_key(h, "secrets:default")));
    const char *key = harness_key(h, "secret:default:A");
    harness_assert_hget(h, key, "latest", "2");
    harness_assert_hget(h, key, "v1", "sealed 1");
    harness_assert_hget(h, key, "v2", "sealed 2");
    assert_int_equal(harness_int(h, "HLEN %s", key), 6); /* and created, u1, u2 */
    assert_in_range(harness_int(h, "HGET %s created", key), before, harness_now_ms(h));
    audit_check(h);
}

static void test_a_version_that_is_not_next_changes_nothing(void **state)
{
    struct harness *h = *state;
    const struct script_secret_put_reply *reply;
    for (int64_t wrong = 0; wrong < 4; wrong++) {
        const char *before = rig_dump(h);
        int64_t next = 1;
        if (wrong == next)
            continue;
        harness_assert_err(put(h, "default", "A", wrong, "x", &reply), ERR_SECRET_CHANGED);
        assert_int_equal(reply->version, next);
        assert_string_equal(rig_dump(h), before);
    }
    harness_assert_err(put(h, "default", "A", 1, "x", NULL), ERR_OK);
    harness_assert_err(put(h, "default", "A", 1, "y", &reply), ERR_SECRET_CHANGED);
    assert_int_equal(reply->version, 2);
    harness_assert_hget(h, harness_key(h, "secret:default:A"), "v1", "x");
}

static void test_old_versions_go_and_their_numbers_never_come_again(void **state)
{
    struct harness *h = *state;
    const struct script_secret_show_reply *reply;
    const struct script_secret_put_reply *stored;
    for (int64_t v = 1; v <= 5; v++)
        harness_assert_err(put(h, "default", "A", v, "x", NULL), ERR_OK);
    harness_assert_err(show(h, "A", &reply), ERR_OK);
    assert_true(reply->version == 5 && reply->versions_len == 3 && reply->versions[0].version == 3 &&
                reply->versions[2].version == 5);
    assert_int_equal(harness_int(h, "HLEN %s", harness_key(h, "secret:default:A")), 8);
    harness_assert_err(forget(h, "default", "A"), ERR_OK);
    harness_assert_err(forget(h, "default", "A"), ERR_SECRET_NOT_FOUND);
    harness_assert_err(show(h, "A", &reply), ERR_SECRET_NOT_FOUND);
    harness_assert_err(put(h, "default", "A", 1, "x", &stored), ERR_SECRET_CHANGED);
    assert_int_equal(stored->version, 6);
    harness_assert_err(put(h, "default", "B", 6, "x", NULL), ERR_OK);
    harness_assert_err(forget(h, "default", "B"), ERR_OK);
    harness_assert_err(put(h, "default", "A", 7, "x", NULL), ERR_OK);
    harness_assert_err(put(h, "other", "A", 1, "x", NULL), ERR_OK); /* each workspace counts for itself */
    audit_check(h);
}

static void test_a_workspace_has_so_many(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 3; i++)
        harness_assert_err(put(h, "default", harness_printf(h, "S%d", i), 1, "x", NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_assert_err(put(h, "default", "S3", 1, "x", NULL), ERR_LIMIT_EXCEEDED);
    assert_string_equal(rig_dump(h), before);
    harness_assert_err(put(h, "default", "S1", 2, "x", NULL), ERR_OK);
    harness_assert_err(put(h, "other", "S3", 1, "x", NULL), ERR_OK);
    for (int64_t limit = 1; limit <= 4; limit++) {
        struct script_secret_list_args args = {.ws = S("default"), .limit = limit};
        int seen = 0;
        for (bool more = true; more;) {
            const struct script_secret_list_reply *page;
            harness_assert_err(sync_secret_list(h, &args, &page), ERR_OK);
            for (size_t i = 0; i < page->secrets_len; i++, seen++)
                assert_true(str_eqz(page->secrets[i].name, harness_printf(h, "S%d", seen)) &&
                            page->secrets[i].version == (seen == 1 ? 2 : 1));
            args.after = page->next;
            more = page->next.len > 0;
        }
        assert_int_equal(seen, 3);
    }
}

static void test_a_full_redis_takes_no_secret_but_forgets_one(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "default", "A", 1, "x", NULL), ERR_OK);
    const char *before = rig_dump(h);
    harness_do(h, "CONFIG SET maxmemory 1");
    enum err stored = put(h, "default", "A", 2, "y", NULL);
    const char *after = rig_dump(h);
    enum err gone = forget(h, "default", "A");
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(stored, ERR_MEMORY_PRESSURE);
    assert_string_equal(after, before);
    harness_assert_err(gone, ERR_OK);
}

/* ---- what an attempt is given ---- */

static enum err get(struct harness *h, const char *inc, const struct script_claim_runs *row, int64_t epoch,
                    const struct script_secret_get_wants *wants, size_t n,
                    const struct script_secret_get_reply **ret_reply)
{
    struct script_secret_get_args args = {
        .inc = S(inc), .run = row->run, .epoch = epoch, .wants = wants, .wants_len = n};
    return sync_secret_get(h, &args, ret_reply);
}

static const struct script_secret_get_wants wants[] = {
    {{"A", 1}, 0}, {{"A", 1}, 1}, {{"B", 1}, 0}, {{"A", 1}, 9}, {{"A", 1}, 0}};

static void test_an_attempt_gets_what_its_workspace_has(void **state)
{
    struct harness *h = *state;
    const struct script_secret_get_reply *reply;
    harness_assert_err(put(h, "default", "A", 1, "a1", NULL), ERR_OK);
    harness_assert_err(put(h, "default", "A", 2, "a2", NULL), ERR_OK);
    harness_assert_err(put(h, "other", "B", 1, "theirs", NULL), ERR_OK);
    rig_register(h, "r1");
    const char *run = rig_submit(h, NULL);
    const struct script_claim_reply *claimed = rig_claim(h, "r1", 1, 1);
    assert_int_equal(claimed->runs_len, 1);
    const struct script_claim_runs *row = &claimed->runs[0];
    harness_assert_err(get(h, "r1", row, row->epoch, wants, ARRAY_LEN(wants), &reply), ERR_OK);
    assert_true(str_eqz(reply->ws, "default") && reply->secrets_len == ARRAY_LEN(wants));
    static const struct {
        int64_t version;
        const char *sealed;
    } expected[] = {{2, "a2"}, {1, "a1"}, {0, ""}, {0, ""}, {2, "a2"}};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_true(str_eq(reply->secrets[i].name, wants[i].name) && reply->secrets[i].version == expected[i].version &&
                    str_eqz(reply->secrets[i].sealed, expected[i].sealed));
    assert_string_equal(rig_field(h, run, "a1:secrets"), "A@2 A@1");
    audit_check(h);
}

static void test_only_who_holds_the_attempt_is_given_anything(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "default", "A", 1, "a1", NULL), ERR_OK);
    rig_register(h, "r1");
    rig_register(h, "r2");
    rig_submit(h, NULL);
    const struct script_claim_runs *row = &rig_claim(h, "r1", 1, 1)->runs[0];
    const char *before = rig_dump(h);
    struct script_claim_runs unknown = *row;
    unknown.run = S("00000000-0000-4000-8000-000000000000");
    harness_assert_err(get(h, "r2", row, row->epoch, wants, 1, NULL), ERR_FENCED);
    harness_assert_err(get(h, "r1", row, row->epoch - 1, wants, 1, NULL), ERR_FENCED);
    harness_assert_err(get(h, "r1", row, row->epoch + 1, wants, 1, NULL), ERR_FENCED);
    harness_assert_err(get(h, "r1", &unknown, row->epoch, wants, 1, NULL), ERR_FENCED);
    assert_string_equal(rig_dump(h), before);
    harness_do(h, "CONFIG SET maxmemory 1"); /* what was accepted is executed while Redis is full, too */
    enum err full = get(h, "r1", row, row->epoch, wants, 1, NULL);
    harness_do(h, "CONFIG SET maxmemory 0");
    harness_assert_err(full, ERR_OK);
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    harness_assert_err(rig_finish(h, "r1", row, "success", 0, NULL), ERR_OK);
    harness_assert_err(get(h, "r1", row, row->epoch, wants, 1, NULL), ERR_FENCED);
}

/* ---- rekeying ---- */

static int64_t reseal(struct harness *h, const char *path, const char *field, const char *was, const char *sealed)
{
    const struct script_reseal_reply *reply;
    struct script_reseal_args args = {.path = S(path), .field = S(field), .was = S(was), .sealed = S(sealed)};
    harness_assert_err(sync_reseal(h, &args, &reply), ERR_OK);
    return reply->done;
}

static void test_a_value_is_resealed_only_in_its_own_place(void **state)
{
    struct harness *h = *state;
    harness_assert_err(put(h, "default", "A", 1, "old", NULL), ERR_OK);
    assert_int_equal(reseal(h, "secret:default:A", "v1", "old", "new"), 1);
    const char *before = rig_dump(h);
    assert_int_equal(reseal(h, "secret:default:A", "v1", "old", "newer"), 0); /* somebody was faster */
    assert_int_equal(reseal(h, "secret:default:A", "v2", "old", "new"), 0);
    assert_int_equal(reseal(h, "secret:default:B", "v1", "old", "new"),
                     0); /* deleted meanwhile: it does not come back */
    assert_string_equal(rig_dump(h), before);
    harness_assert_hget(h, harness_key(h, "secret:default:A"), "v1", "new");
}

/* ---- what an API node finds ---- */

struct found {
    bool called;
    enum err err;
    size_t n;
    char text[512];
};

static void on_found(void *ctx, enum err err, const struct redact_secret *secrets, size_t n)
{
    struct found *f = ctx;
    f->called = true;
    f->err = err;
    f->n = n;
    for (size_t i = 0; i < n; i++)
        snprintf(f->text + strlen(f->text), sizeof f->text - strlen(f->text), "%.*s=%.*s ", STR_ARG(secrets[i].name),
                 STR_ARG(secrets[i].value));
}

static struct found find(struct harness *h, const struct vault *v, struct str run, int64_t attempt, const char *sha)
{
    static struct found f;
    struct shard shard = {.commands = h->redis, .prefix = keys_shard(STR("errand:"), 0)};
    struct node node = {.shards = &shard, .shard_count = 1, .vault = (struct vault *)(uintptr_t)v};
    f = (struct found){0};
    attempt_secrets(&node, run, attempt, S(sha), on_found, &f);
    harness_wait_flag(h, &f.called, "the secrets are known");
    return f;
}

static void put_sealed(struct harness *h, const struct vault *v, const char *name, int64_t version, const char *value)
{
    char context[SECRET_CONTEXT_MAX];
    struct strbuf sealed;
    strbuf_init(&sealed, 1000);
    harness_assert_err(vault_seal(v, secret_context(STR("default"), S(name), version, context), S(value), &sealed),
                       ERR_OK);
    harness_assert_err(put(h, "default", name, version, sealed.ptr, NULL), ERR_OK);
    strbuf_done(&sealed);
}

static struct vault *vault_of(const char *key, const char *old)
{
    struct vault *v = NULL;
    struct config c = {.master_key = key, .master_key_old = old};
    struct strbuf msg;
    strbuf_init(&msg, 100);
    harness_assert_err(crypto_start(), ERR_OK);
    harness_assert_err(vault_new(&c, &v, &msg), ERR_OK);
    strbuf_done(&msg);
    return v;
}

static void test_a_node_finds_what_an_attempt_was_started_with(void **state)
{
    struct harness *h = *state;
    struct vault *v = vault_of("00112233445566778899aabbccddeeff00112233445566778899aabbccddee01", ""),
                 *other = vault_of("00112233445566778899aabbccddeeff00112233445566778899aabbccddee02", "");
    put_sealed(h, v, "A", 1, "one");
    put_sealed(h, v, "B", 1, "three");
    rig_register(h, "r1");
    rig_submit(h, NULL);
    const struct script_claim_runs *row = &rig_claim(h, "r1", 1, 1)->runs[0];
    const struct script_secret_get_wants both[] = {{S("A"), 0}, {S("B"), 0}};
    harness_assert_err(get(h, "r1", row, row->epoch, both, 2, NULL), ERR_OK);
    harness_assert_err(rig_started(h, "r1", row), ERR_OK);
    const char *sha = rig_field(h, harness_printf(h, "%.*s", STR_ARG(row->run)), "a1:tok");
    put_sealed(h, v, "A", 2, "two"); /* not what it has */
    struct found f = find(h, v, row->run, 1, sha);
    harness_assert_err(f.err, ERR_OK);
    assert_string_equal(f.text, "A=one B=three ");
    harness_assert_err(find(h, v, row->run, 1, "another token").err, ERR_RUN_NOT_FOUND);
    harness_assert_err(find(h, v, row->run, 2, sha).err, ERR_RUN_NOT_FOUND);
    harness_assert_err(find(h, v, row->run, 2, "").err, ERR_RUN_NOT_FOUND);
    harness_assert_err(find(h, v, S("nonsense"), 1, sha).err, ERR_RUN_NOT_FOUND);
    harness_assert_err(find(h, other, row->run, 1, sha).err, ERR_NO_MASTER_KEY);
    harness_assert_err(find(h, NULL, row->run, 1, sha).err, ERR_NO_MASTER_KEY);
    harness_assert_err(forget(h, "default", "B"), ERR_OK);
    f = find(h, v, row->run, 1, sha);
    assert_true(f.err == ERR_SECRET_NOT_FOUND && f.n == 0 && !f.text[0]);
    vault_free(v);
    vault_free(other);
}

static void test_an_attempt_without_secrets_has_none(void **state)
{
    struct harness *h = *state;
    rig_register(h, "r1");
    rig_submit(h, NULL);
    const struct script_claim_runs *row = rig_execute(h, "r1", 1);
    const char *sha = rig_field(h, harness_printf(h, "%.*s", STR_ARG(row->run)), "a1:tok");
    struct found f = find(h, NULL, row->run, 1, sha);
    assert_true(f.err == ERR_OK && f.n == 0);
}

#define TEST(name) cmocka_unit_test_setup(name, harness_test_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_secret_is_all_of_this),
        TEST(test_a_version_that_is_not_next_changes_nothing),
        TEST(test_old_versions_go_and_their_numbers_never_come_again),
        TEST(test_a_workspace_has_so_many),
        TEST(test_a_full_redis_takes_no_secret_but_forgets_one),
        TEST(test_an_attempt_gets_what_its_workspace_has),
        TEST(test_only_who_holds_the_attempt_is_given_anything),
        TEST(test_a_value_is_resealed_only_in_its_own_place),
        TEST(test_a_node_finds_what_an_attempt_was_started_with),
        TEST(test_an_attempt_without_secrets_has_none),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
