#include "common/keys.h"

#include <stdio.h>

#include "common/limits.h"

bool keys_name_valid(struct str name)
{
    if (name.len == 0 || name.len > LIMIT_NAME)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

/* Outside names were bounded by limits.h before they come here, so a key that does not fit is a broken invariant. */
static struct key join(struct str a, const char *b, struct str c, const char *d)
{
    struct key k;
    size_t b_len = strlen(b), d_len = strlen(d);
    k.len = a.len + b_len + c.len + d_len;
    PRE(k.len < KEY_MAX);
    char *at = k.s;
    const struct str parts[] = {a, {b, b_len}, c, {d, d_len}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    *at = 0;
    return k;
}

struct key keys_shard(struct str prefix, unsigned shard)
{
    char tag[16];
    snprintf(tag, sizeof tag, "{%u}:", shard);
    return join(prefix, tag, STR_NONE, "");
}

struct key keys_global(struct str prefix)
{
    return join(prefix, "{g}:", STR_NONE, "");
}

struct key keys_run(struct str shard_prefix, struct str run_id)
{
    return join(shard_prefix, "run:", run_id, "");
}

struct key keys_events(struct str shard_prefix, struct str run_id)
{
    return join(shard_prefix, "run:", run_id, ":events");
}

struct key keys_wake(struct str shard_prefix, struct str run_id)
{
    return join(shard_prefix, "run:", run_id, ":wake");
}

struct key keys_stdin(struct str shard_prefix, struct str run_id)
{
    return join(shard_prefix, "run:", run_id, ":stdin");
}

struct key keys_logs(struct str shard_prefix, struct str run_id)
{
    return join(shard_prefix, "run:", run_id, ":logs");
}

struct key keys_bell(struct str shard_prefix, struct str queue)
{
    return join(shard_prefix, "bell:", queue, "");
}

struct key keys_ctl(struct str shard_prefix, struct str incarnation)
{
    return join(shard_prefix, "ctl:", incarnation, "");
}

struct key keys_due(struct str shard_prefix)
{
    return join(shard_prefix, "due", STR_NONE, "");
}

struct key keys_quota(struct str shard_prefix, struct str key_id)
{
    return join(shard_prefix, "quota:", key_id, "");
}

struct key keys_hook_wake(struct str shard_prefix)
{
    return join(shard_prefix, "hookw", STR_NONE, "");
}

struct key keys_signing_secret(struct str global_prefix)
{
    return join(global_prefix, "secret", STR_NONE, "");
}

struct key keys_version(struct str global_prefix)
{
    return join(global_prefix, "keyver", STR_NONE, "");
}

struct key keys_news(struct str global_prefix)
{
    return join(global_prefix, "keynews", STR_NONE, "");
}

struct key keys_data(struct str shard_prefix, struct str workspace, const char *kind, struct str name)
{
    char middle[LIMIT_NAME + 32];
    snprintf(middle, sizeof middle, "data:%.*s:%s:", STR_ARG(workspace), kind);
    return join(shard_prefix, middle, name, "");
}

struct key keys_upload(struct str shard_prefix, struct str workspace, const char *kind, struct str upload,
                       struct str name)
{
    char middle[LIMIT_NAME + LIMIT_UPLOAD_ID + 48];
    snprintf(middle, sizeof middle, "upload:%.*s:%s:%.*s:", STR_ARG(workspace), kind, STR_ARG(upload));
    return join(shard_prefix, middle, name, "");
}

struct key keys_bundle(struct str shard_prefix, struct str workspace, struct str hex)
{
    struct key of = join(shard_prefix, "bundle:", workspace, ":");
    return join(key_str(&of), "", hex, "");
}

struct key keys_bundle_chunk(struct str shard_prefix, struct str workspace, struct str hex, unsigned n)
{
    char chunk[16];
    snprintf(chunk, sizeof chunk, ":%u", n);
    struct key of = keys_bundle(shard_prefix, workspace, hex);
    return join(key_str(&of), chunk, STR_NONE, "");
}
