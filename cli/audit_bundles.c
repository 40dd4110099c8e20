/* Bundles: each is in its workspace's list, and either used or about to expire; a chunk belongs to one, a complete one has all of its chunks. */
#include "cli/audit_parts.h"

const char *audit_bundle_type(const char *const *parts)
{
    return *parts[3] ? "string" : "hash";
}

static void expect_bundle(struct audit *a, const char *path, const char *const *parts)
{
    const char *of = audit_text(a, "bundle:%s:%s", parts[1], parts[2]);
    if (*parts[3]) {
        EXPECT(a, path, "is a chunk of no bundle", want_one, NULL, "EXISTS", audit_key(a, "%s", of));
        return;
    }
    const redisReply *r = ASK(a, "HMGET", audit_key(a, "%s", path), "done", "chunks", "refs");
    bool done = *reply_item(r, 0);
    int64_t chunks = number_of(reply_item(r, 1)), refs = number_of(reply_item(r, 2));
    EXPECT(a, path, "is a bundle that no list has", want_member, NULL, "ZSCORE", audit_key(a, "bundles:%s", parts[1]),
           parts[2]);
    if (refs == 0)
        EXPECT(a, path, "is used by nobody and does not expire", want_member, NULL, "ZSCORE", audit_key(a, "bundledue"),
               audit_text(a, "%s:%s", parts[1], parts[2]));
    for (int64_t n = 0; done && n < chunks; n++)
        EXPECT(a, path, audit_text(a, "is complete without its chunk %lld", (long long)n), want_one, NULL, "EXISTS",
               audit_key(a, "%s:%lld", of, (long long)n));
}

static void expect_bundles(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1"); /* bounded by LIMIT_BUNDLES */
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "names the bundle %s, which is gone", reply_item(all, i)), want_one, NULL,
               "EXISTS", audit_key(a, "bundle:%s:%s", parts[1], reply_item(all, i)));
}

static void expect_bundledue(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1");
    (void)parts;
    for (size_t i = 0; i < all->elements; i++) {
        const char *key = audit_key(a, "bundle:%s", reply_item(all, i));
        EXPECT(a, path, audit_text(a, "lets the bundle %s expire, which is gone", reply_item(all, i)), want_one, NULL,
               "EXISTS", key);
        EXPECT(a, path, audit_text(a, "lets the bundle %s expire, which is used", reply_item(all, i)), want_no_member,
               NULL, "HGET", key, "refs");
    }
}

const struct kind audit_bundle_kinds[] = {
    {"bundle", NULL, 4, expect_bundle, NULL},
    {"bundles", "zset", 2, expect_bundles, NULL},
    {"bundledue", "zset", 1, expect_bundledue, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
