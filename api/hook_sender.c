/* Deliveries: taken, signed, sent, and what came of it. */
#include <stdio.h>
#include <stdlib.h>

#include "api/hook_body_out.h"
#include "api/hook_parts.h"
#include "api/hook_seal.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/version.h"
#include "common/webhook.h"
#include "lua/scripts.h"

enum {
    BODY_MAX = 1 << 20,
    ANSWER_MAX = 65536,
    LEASES = 4,         /* a lease lasts that many times what an attempt may take */
    SPIN_MS = 10,       /* before the next look, where the last one found nothing to send */
    SIGNATURES_MAX = 2, /* of the secret, and of the one before */
    NAME_MAX_ = LIMIT_NAME + 1,
};

/* One delivery under way: until its answer was stored, or could not be. */
struct sending {
    struct hook_shard *at;
    char ws[NAME_MAX_], hook[NAME_MAX_], id[NAME_MAX_], lease[64];
    int64_t tries, age_ms;
};

static void sending_end(struct sending *s)
{
    struct hooks *h = s->at->hooks;
    free(s);
    h->open--;
    if (!h->stopped)
        hooks_room(h);
}

/* ---- what came of it ---- */

static void on_done(void *ctx, enum err err, const struct script_hook_done_reply *reply)
{
    (void)err; /* not stored: the lease ends, and it is told once more, with the same id */
    (void)reply;
    sending_end(ctx);
}

static void done(struct sending *s, const char *outcome, int64_t status, const char *why, int64_t delay_ms)
{
    struct script_hook_done_args args = {.ws = str_of(s->ws),
                                         .hook = str_of(s->hook),
                                         .id = str_of(s->id),
                                         .lease = str_of(s->lease),
                                         .outcome = str_of(outcome),
                                         .code = status,
                                         .why = str_of(why),
                                         .delay_ms = delay_ms};
    metric_add(strcmp(outcome, "delivered") == 0 ? METRIC_HOOKS_DELIVERED : METRIC_HOOKS_FAILED, 1);
    if (strcmp(outcome, "gone") == 0 || strcmp(outcome, "gaveup") == 0)
        LOG_WARN(outcome[2] == 'n' ? "a webhook's receiver is gone: it is disabled" : "a delivery was given up",
                 LOG_Z("workspace", s->ws), LOG_Z("webhook", s->hook), LOG_Z("delivery", s->id));
    script_call_hook_done(s->at->shard->commands, shard_prefix(s->at->shard), &args, on_done, s);
}

static void failed(struct sending *s, int64_t status, const char *why, int64_t retry_after_s)
{
    int64_t base_ms = s->at->hooks->node->config->webhook_retry_base_ms;
    int64_t delay =
        webhook_retry_ms(s->tries + 1, base_ms, s->age_ms, retry_after_s, (uint32_t)crypto_uniform(UINT32_MAX));
    done(s, delay < 0 ? "gaveup" : "retry", status, why, delay < 0 ? 0 : delay);
}

static void on_answer(void *ctx, enum err err, const struct http_answer *a)
{
    struct sending *s = ctx;
    char why[64];
    if (err == ERR_CANCELED) { /* this node ends */
        sending_end(s);
    } else if (err) {
        if (err == ERR_FORBIDDEN)
            done(s, "failed", 0, a->error, 0);
        else
            failed(s, 0, a->error, -1);
    } else if (a->status >= 200 && a->status < 300) {
        done(s, "delivered", a->status, "", 0);
    } else {
        snprintf(why, sizeof why, "The receiver answered %d", a->status);
        if (a->status == 410)
            done(s, "gone", a->status, why, 0);
        else
            failed(s, a->status, why, a->status == 429 || a->status == 503 ? a->retry_after_s : -1);
    }
}

/* ---- sending ---- */

static bool keep(char *buf, size_t cap, struct str s)
{
    if (s.len >= cap)
        return false;
    memcpy(buf, s.ptr, s.len);
    buf[s.len] = 0;
    return true;
}

/* "webhook-signature: v1,… v1,…": by the secret, and while it still holds by the one before. */
static enum err sign(struct sending *s, const struct script_hook_take_deliveries *d, int64_t timestamp, struct str body,
                     struct strbuf *out)
{
    const struct str sealed[SIGNATURES_MAX] = {d->secret, d->secret_old};
    enum err err = ERR_OK;
    strbuf_addz(out, "webhook-signature:");
    for (size_t i = 0; i < SIGNATURES_MAX && !err; i++) {
        struct strbuf secret;
        char signature[WEBHOOK_SIGNATURE_MAX];
        if (i > 0 && sealed[i].len == 0)
            break;
        strbuf_init(&secret, WEBHOOK_SECRET_MAX);
        err = hook_open(s->at->hooks->node->vault, d->ws, d->hook, d->url, sealed[i], &secret);
        if (!err)
            err = webhook_sign(strbuf_str(&secret), d->id, timestamp, body, signature);
        if (!err)
            strbuf_addf(out, " %s", signature);
        vault_wipe(&secret);
    }
    return err;
}

static void post(struct sending *s, const struct script_hook_take_deliveries *d, struct str body)
{
    struct hooks *h = s->at->hooks;
    struct strbuf signature;
    char id[NAME_MAX_ + 16], at[48], url[LIMIT_WEBHOOK_URL + 1];
    int64_t timestamp = node_now_ms(h->node) / 1000;
    strbuf_init(&signature, 256);
    enum err err = sign(s, d, timestamp, body, &signature);
    if (err || strbuf_failed(&signature) || !keep(url, sizeof url, d->url)) {
        LOG_ERROR("a webhook's secret can't be used", LOG_Z("workspace", s->ws), LOG_Z("webhook", s->hook), LOG_E(err));
        failed(s, 0, "The webhook's secret can't be opened by this node", -1);
    } else {
        snprintf(id, sizeof id, "webhook-id: %s", s->id);
        snprintf(at, sizeof at, "webhook-timestamp: %lld", (long long)timestamp);
        const struct str headers[] = {STR("Content-Type: application/json"), str_of(id), str_of(at),
                                      strbuf_str(&signature)};
        struct http_call call = {.method = "POST",
                                 .url = url,
                                 .headers = headers,
                                 .header_count = ARRAY_LEN(headers),
                                 .body = body,
                                 .timeout_ms = h->node->config->webhook_timeout_ms,
                                 .max_response = ANSWER_MAX,
                                 .https_only = !h->node->config->allow_private_addresses};
        http_client_send(h->node->http, &call, on_answer, s);
    }
    strbuf_done(&signature);
}

static void send_one(struct hook_shard *at, const struct script_hook_take_deliveries *d)
{
    struct sending *s = calloc(1, sizeof *s);
    struct strbuf body;
    PRE(s);
    s->at = at;
    s->tries = d->tries;
    s->age_ms = d->now_ms - d->since;
    at->hooks->open++;
    if (!keep(s->ws, sizeof s->ws, d->ws) || !keep(s->hook, sizeof s->hook, d->hook) ||
        !keep(s->id, sizeof s->id, d->id) || !keep(s->lease, sizeof s->lease, d->lease)) {
        sending_end(s); /* nothing that we wrote is so long */
        return;
    }
    strbuf_init(&body, BODY_MAX);
    hook_body_write(&body, d);
    if (strbuf_failed(&body))
        failed(s, 0, "The body could not be made", -1);
    else
        post(s, d, strbuf_str(&body));
    strbuf_done(&body);
}

/* ---- taking ---- */

static void on_taken(void *ctx, enum err err, const struct script_hook_take_reply *reply)
{
    struct hook_shard *s = ctx;
    s->taking = false;
    if (err == ERR_CANCELED || s->hooks->stopped) /* this node ends; what was taken comes back */
        return;
    for (size_t i = 0; !err && i < reply->deliveries_len; i++)
        send_one(s, &reply->deliveries[i]);
    if (s->hooks->draining)
        return;
    int64_t next_ms = err || reply->next_ms < 0 || reply->next_ms > HOOK_LOOK_MS ? HOOK_LOOK_MS : reply->next_ms;
    if (next_ms < SPIN_MS && !err && reply->deliveries_len == 0)
        next_ms = SPIN_MS;
    loop_timer_set(&s->take, s->take_again && !err ? 0 : next_ms);
    s->take_again = false;
}

void hook_take_due(void *ctx)
{
    struct hook_shard *s = ctx;
    struct hooks *h = s->hooks;
    if (s->taking || h->open >= HOOKS_OPEN_MAX || !h->node->vault || !redis_is_up(s->shard->commands)) {
        loop_timer_set(&s->take, HOOK_LOOK_MS); /* and sooner, as soon as there is room */
        return;
    }
    size_t room = HOOKS_OPEN_MAX - h->open;
    s->taking = true;
    struct script_hook_take_args args = {.max = room < HOOK_TAKE_MAX ? (int64_t)room : HOOK_TAKE_MAX,
                                         .lease_ms = LEASES * h->node->config->webhook_timeout_ms,
                                         .max_result = LIMIT_WEBHOOK_RESULT};
    script_call_hook_take(s->shard->commands, shard_prefix(s->shard), &args, on_taken, s);
}
