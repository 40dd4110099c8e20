/* Webhooks and their outbox: each delivery is in both of its webhook's lists, and each entry of these names a delivery. */
#include "cli/audit_parts.h"

static void expect_hook(struct audit *a, const char *path, const char *const *parts)
{
    EXPECT(a, path, "is a webhook that no list has", want_one, NULL, "HEXISTS", audit_key(a, "hooks:%s", parts[1]),
           parts[2]);
}

static void expect_hooks(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "HKEYS", audit_key(a, "%s", path)); /* bounded by LIMIT_WEBHOOKS */
    EXPECT(a, path, "is not what the ends of its workspace's runs look at", want_text, "1", "HGET",
           audit_key(a, "use:%s", parts[1]), "hooks");
    for (size_t i = 0; i < all->elements; i++) {
        if (strcmp(reply_item(all, i), "*") != 0)
            EXPECT(a, path, audit_text(a, "names the webhook %s, which is gone", reply_item(all, i)), want_one, NULL,
                   "EXISTS", audit_key(a, "hook:%s:%s", parts[1], reply_item(all, i)));
    }
}

static void expect_delivery(struct audit *a, const char *path, const char *const *parts)
{
    const char *ws = parts[1], *hook = parts[2], *id = parts[3];
    if (strcmp(hook, "runs") != 0)
        EXPECT(a, path, "is left without its webhook", want_one, NULL, "EXISTS", audit_key(a, "hook:%s:%s", ws, hook));
    EXPECT(a, path, "is a delivery that no list has", want_member, NULL, "ZSCORE",
           audit_key(a, "hooklist:%s:%s", ws, hook), id);
    EXPECT(a, path, "is a delivery that nobody will look at", want_member, NULL, "ZSCORE",
           audit_key(a, "hookdue:%s:%s", ws, hook), id);
}

static void expect_deliveries(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all =
        ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1"); /* bounded by LIMIT_DELIVERIES_PENDING */
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "names the delivery %s, which is gone", reply_item(all, i)), want_one, NULL,
               "EXISTS", audit_key(a, "delivery:%s:%s:%s", parts[1], parts[2], reply_item(all, i)));
}

static void expect_due(struct audit *a, const char *path, const char *const *parts)
{
    expect_deliveries(a, path, parts);
    EXPECT(a, path, "has deliveries that nobody will look at", want_member, NULL, "ZSCORE", audit_key(a, "hookq"),
           audit_text(a, "%s:%s", parts[1], parts[2]));
}

static void expect_hookq(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1");
    (void)parts;
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "names %s, which has no deliveries", reply_item(all, i)), want_one, NULL,
               "EXISTS", audit_key(a, "hookdue:%s", reply_item(all, i)));
}

static void expect_follow(struct audit *a, const char *path, const char *const *parts)
{
    const redisReply *all = ASK(a, "ZRANGE", audit_key(a, "%s", path), "0", "-1");
    (void)parts;
    for (size_t i = 0; i < all->elements; i++)
        EXPECT(a, path, audit_text(a, "has %s, which is not looked through", reply_item(all, i)), want_one, NULL,
               "HEXISTS", audit_key(a, "run:%s", reply_item(all, i)), "follow");
}

const struct kind audit_hook_kinds[] = {
    {"hook", "hash", 3, expect_hook, NULL},
    {"hooks", "hash", 2, expect_hooks, NULL},
    {"delivery", "hash", 4, expect_delivery, NULL},
    {"hooklist", "zset", 3, expect_deliveries, NULL},
    {"hooklease", "zset", 3, expect_deliveries, NULL},
    {"hookdue", "zset", 3, expect_due, NULL},
    {"hookq", "zset", 1, expect_hookq, NULL},
    {"follow", "zset", 1, expect_follow, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
