#include "api/sealer.h"

#include <stdio.h>

#include "api/audit_log.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/metrics.h"
#include "lua/scripts.h"

enum { ROUND_MS = 1000, BATCH = 200, TRIM_SEALS = 200 };

/* One of the round's questions is answered; the last one ends the round. */
static void part_end(struct sealer *s, enum err err)
{
    if (--s->open > 0 || err == ERR_CANCELED) /* canceled: this node ends, its timers are stopped */
        return;
    loop_timer_set(&s->timer, s->progress ? 0 : ROUND_MS / 2 + (int64_t)crypto_uniform(ROUND_MS / 2));
}

static void job_end(struct seal_job *j, enum err err, bool again)
{
    struct sealer *s = j->sealer;
    s->progress = s->progress || again;
    if (err && err != ERR_CANCELED && err != ERR_REDIS_UNAVAILABLE)
        LOG_ERROR("an audit log can't be sealed or trimmed", LOG_Z("workspace", j->ws), LOG_Z("code", err_code(err)));
    part_end(s, err);
}

static void on_sealed(void *ctx, enum err err, const struct script_audit_seal_reply *reply)
{
    struct seal_job *j = ctx;
    if (!err && reply->won)
        metric_add(METRIC_AUDIT_SEALED, j->count);
    job_end(j, err, !err && reply->won && reply->more); /* who lost leaves the rest to the winner */
}

static void on_page(void *ctx, enum err err, const struct script_audit_page_reply *reply)
{
    struct seal_job *j = ctx;
    char h[SHA256_HEX_LEN + 1];
    struct chain_entry e;
    if (!err && reply->anchor.len > 0 && reply->anchor_h.len != SHA256_HEX_LEN)
        err = ERR_INTERNAL; /* no seal of ours */
    chain_begin(str_of(j->ws), h);
    if (!err && reply->anchor.len > 0)
        memcpy(h, reply->anchor_h.ptr, SHA256_HEX_LEN);
    j->count = 0;
    for (size_t i = 0; !err && i < reply->entries_len; i++) {
        if (!audit_entry_read(reply->entries[i].id, reply->entries[i].fields, &e)) {
            err = ERR_INTERNAL;
            break;
        }
        if (j->count++ == 0)
            j->from = e.n;
        chain_add(h, &e);
    }
    if (err) {
        job_end(j, err, false);
        return;
    }
    struct script_audit_seal_args args = {.ws = str_of(j->ws), .seen = reply->anchor, .id = STR(""), .h = str_of(h)};
    if (j->count > 0) {
        args.id = reply->entries[reply->entries_len - 1].id;
        args.from = j->from;
    }
    script_call_audit_seal(j->sealer->commands, j->sealer->prefix, &args, on_sealed, j);
}

static void on_trimmed(void *ctx, enum err err, const struct script_audit_trim_reply *reply)
{
    if (!err)
        metric_add(METRIC_AUDIT_TRIMMED, reply->trimmed);
    job_end(ctx, err, !err && reply->more);
}

static struct seal_job *job_begin(struct sealer *s, size_t i, struct str ws)
{
    struct seal_job *j = &s->jobs[i];
    if (ws.len == 0 || ws.len >= sizeof j->ws)
        return NULL;
    *j = (struct seal_job){.sealer = s};
    memcpy(j->ws, ws.ptr, ws.len);
    s->open++;
    return j;
}

static void on_open(void *ctx, enum err err, const struct script_audit_open_reply *reply)
{
    struct sealer *s = ctx;
    size_t open = err ? 0 : reply->open_len, due = err ? 0 : reply->due_len;
    for (size_t i = 0; i < open && i < SEALER_JOBS; i++) {
        struct seal_job *j = job_begin(s, i, reply->open[i]);
        /* Behind the newest seal, whenever that was. */
        struct script_audit_page_args args = {
            .ws = reply->open[i], .after = STR(""), .since_ms = INT64_C(1) << 52, .count = BATCH, .seals = 1};
        if (j)
            script_call_audit_page(s->commands, s->prefix, &args, on_page, j);
    }
    for (size_t i = 0; i < due && i < SEALER_JOBS; i++) {
        struct seal_job *j = job_begin(s, SEALER_JOBS + i, reply->due[i]);
        struct script_audit_trim_args args = {.ws = reply->due[i],
                                              .retention_ms = s->config->audit_retention_ms,
                                              .max_entries = LIMIT_AUDIT_ENTRIES,
                                              .max = TRIM_SEALS};
        if (j)
            script_call_audit_trim(s->commands, s->prefix, &args, on_trimmed, j);
    }
    part_end(s, err);
}

static void on_timer(void *ctx)
{
    struct sealer *s = ctx;
    if (s->open > 0 || !redis_is_up(s->commands)) {
        loop_timer_set(&s->timer, ROUND_MS);
        return;
    }
    s->open = 1;
    s->progress = false;
    struct script_audit_open_args args = {.max = SEALER_JOBS, .retention_ms = s->config->audit_retention_ms};
    script_call_audit_open(s->commands, s->prefix, &args, on_open, s);
}

void sealer_start(struct sealer *s, struct loop *l, const struct config *config, struct redis *commands,
                  struct str prefix)
{
    *s = (struct sealer){.config = config, .commands = commands, .prefix = prefix};
    loop_timer_init(&s->timer, l, on_timer, s);
    loop_timer_set(&s->timer, (int64_t)crypto_uniform(ROUND_MS / 2)); /* spread over the nodes */
}

void sealer_stop(struct sealer *s)
{
    loop_timer_stop(&s->timer);
}
