/* Attempts that outlive a runner: left by one, adopted by its successor. Contract: executors.md, "works after a runner restart, from the stored handle alone". */
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/secret.h"
#include "lua/scripts.h"
#include "runner/attempt_parts.h"
#include "runner/output.h"
#include "runner/spec.h"
#include "runner/storage.h"
#include "runner/worker_shard.h"

/* ---- adopted ---- */

/* The value of a variable; STR_NONE where it is not there. */
static struct str variable(const struct attempt *a, struct str name)
{
    for (size_t at = 0; at < a->adopted_env_len;) {
        const char *word = a->adopted_env + at;
        size_t len = strnlen(word, a->adopted_env_len - at);
        if (len > name.len && word[name.len] == '=' && memcmp(word, name.ptr, name.len) == 0)
            return (struct str){word + name.len + 1, len - name.len - 1};
        at += len + 1;
    }
    return STR_NONE;
}

static void add_secret(struct attempt *a, const struct json *declaration, struct str name)
{
    const struct json *secret = json_get(declaration, "secret");
    struct str value = secret ? variable(a, name) : STR_NONE, secret_name;
    int64_t version;
    if (value.len > 0 && a->adopted_secret_count < LIMIT_ENV_COUNT &&
        secret_ref_parse(secret->string, &secret_name, &version))
        a->adopted_secrets[a->adopted_secret_count++] = (struct redact_secret){secret_name, value};
}

/* Its token and secrets, as it was started with them: what it shows is redacted as before. */
void attempt_on_adopted(void *ctx, struct str env, const char *private)
{
    struct attempt *a = ctx;
    struct json *def = NULL;
    a->adopted_env = malloc(env.len + 1);
    a->adopted_secrets = arena_zalloc(&a->arena, LIMIT_ENV_COUNT * sizeof *a->adopted_secrets);
    PRE(a->adopted_env && a->adopted_secrets);
    memcpy(a->adopted_env, env.ptr, env.len);
    a->adopted_env[env.len] = 0;
    a->adopted_env_len = env.len;
    snprintf(a->workdir, sizeof a->workdir, "%s", private);
    workdirs_hold(&a->shard->worker->workdirs, a->workdir);
    struct str token = variable(a, STR("ERRAND_RUNNER_TOKEN")), password = variable(a, STR("ERRAND_STORAGE_PASSWORD"));
    snprintf(a->token, sizeof a->token, "%.*s", STR_ARG(token));
    if (password.len > 0 && password.len < sizeof a->storage_password && a->shard->storage) {
        snprintf(a->storage_password, sizeof a->storage_password, "%.*s", STR_ARG(password));
        snprintf(a->storage_ws, sizeof a->storage_ws, "%.*s", STR_ARG(a->spec.workspace));
        a->storage_made = true;
        storage_again(a);
    }
    if (json_parse(&a->arena, a->spec.definition, LIMIT_JSON_DEPTH, 6, &def, NULL) == ERR_OK) {
        const struct json *list = json_get(def, "env");
        for (const struct json *v = list ? list->child : NULL; v; v = v->next)
            if (json_get(v, "key"))
                add_secret(a, v, json_get(v, "key")->string);
        list = json_get(def, "dataSources");
        for (const struct json *s = list ? list->child : NULL; s; s = s->next)
            spec_data_source(a, s, add_secret);
    }
    struct str code = variable(a, STR("ERRAND_CODE_DIR")); /* NUL-terminated there */
    if (code.len > 0)
        a->bundle = bundles_hold(a->shard->worker->bundles, code.ptr);
    if (attempt_redact(a) != ERR_OK)
        attempt_lose(a); /* what it shows could not be redacted */
    a->adopted_secrets = NULL;
    arena_done(&a->arena);
    LOG_INFO("attempt adopted", LOG_RUN(a));
}

/* ---- the text of protocol `text`, which is its result, too ---- */

enum { PAGE = 64 };

static void read_text(struct attempt *a);

static void take_entry(struct attempt *a, struct str lines)
{
    while (lines.len > 0) {
        const char *newline = memchr(lines.ptr, '\n', lines.len);
        struct str line = {lines.ptr, newline ? (size_t)(newline - lines.ptr) : lines.len};
        struct event_head head;
        struct arena arena;
        struct json *data;
        lines.ptr += line.len + (newline ? 1 : 0);
        lines.len -= line.len + (newline ? 1 : 0);
        if (event_peek(line, &head) != ERR_OK || head.kind != EVENT_ASSISTANT_TEXT)
            continue;
        arena_init(&arena, 8 << 20);
        const struct json *text =
            json_parse(&arena, head.data, LIMIT_JSON_DEPTH, 2, &data, NULL) == ERR_OK ? json_get(data, "text") : NULL;
        if (text && text->type == JSON_STRING)
            adapter_restore_text(&a->adapter, text->string);
        arena_done(&arena);
    }
}

static void on_text(void *ctx, enum err err, const redisReply *reply)
{
    struct attempt *a = ctx;
    a->asked = false;
    size_t n = !err && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    if (!a->job || a->end == END_LOST) {
        attempt_over_if_quiet(a);
        return;
    }
    for (size_t i = 0; i < n; i++)
        take_entry(a, redis_str(redis_field(redis_at(redis_at(reply, i), 1), "b")));
    struct str id = n > 0 ? redis_str(redis_at(redis_at(reply, n - 1), 0)) : STR_NONE;
    if (id.len > 0)
        snprintf(a->newest, sizeof a->newest, "%.*s", STR_ARG(id));
    if (err)
        a->adapter.result_truncated = true;
    if (n == PAGE)
        read_text(a);
    else if (!a->outbox.paused)
        a->executor->read_output(a->job, true);
}

/* What the attempt's predecessor stored; its output is read on when all of that is here. */
static void read_text(struct attempt *a)
{
    char from[64], to[48];
    struct key key = keys_events(worker_prefix(a->shard), str_of(a->run_id.s));
    snprintf(from, sizeof from, "%s%s", a->newest[0] ? "(" : "", a->newest);
    if (!a->newest[0])
        snprintf(from, sizeof from, "%lld-0", (long long)a->epoch);
    snprintf(to, sizeof to, "%lld-%lld", (long long)a->epoch, (long long)a->outbox.next_seq);
    const struct str argv[] = {STR("XRANGE"), key_str(&key), str_of(from), str_of(to), STR("COUNT"), STR("64")};
    a->asked = true;
    redis_command(a->shard->commands, ARRAY_LEN(argv), argv, on_text, a);
}

/* ---- taking over ---- */

static void take_numbers(struct attempt *a, const struct script_adoptable_runs *row, const struct script_adopt_reply *r)
{
    a->epoch = row->epoch;
    a->number = r->attempt;
    a->timeout_ms = r->timeout_ms;
    a->grace_ms = r->grace_ms;
    a->stall_ms = r->stall_ms;
    a->slots = r->slots;
    a->remote = str_eqz(r->source, "remote");
    a->adopted = a->adoptable = true;
}

static bool read_marks(struct attempt *a, struct str at)
{
    char text[64];
    long long out = -1, err = -1;
    snprintf(text, sizeof text, "%.*s", (int)(at.len < 63 ? at.len : 63), at.ptr ? at.ptr : "");
    bool known = sscanf(text, "%lld %lld", &out, &err) == 2; /* NOLINT(cert-err34-c): our own */
    a->spec.out_at = known ? out : -1;
    a->spec.err_at = known ? err : -1;
    a->fed_out = known ? out : 0;
    a->fed_err = known ? err : 0;
    return known || a->remote; /* of a remote one it is only log */
}

bool attempt_adopt(struct worker_shard *s, const struct script_adoptable_runs *row, const struct script_adopt_reply *r)
{
    struct attempt *a = calloc(1, sizeof *a);
    const struct json *def = NULL;
    const char *why = "its output can't be read on: nobody knows how much of it is stored";
    if (!a || !id_parse(row->run, &a->run_id)) {
        free(a);
        return false;
    }
    take_numbers(a, row, r);
    attempt_init(a, s);
    adapter_init(&a->adapter, STR("events"), output_event, a);
    outbox_init(&a->outbox, s, &a->run_id, row->epoch, r->first_seq, r->last_t_ms, r->event_count, r->event_bytes,
                &attempt_outbox_fns, a);
    bool ok = spec_adopt(a, r->ws, arena_str(&a->arena, r->def), row->executor, &def) == ERR_OK &&
              read_marks(a, r->at) && attempt_redact(a) == ERR_OK && a->executor->adopt;
    if (ok) {
        adapter_done(&a->adapter);
        adapter_init(&a->adapter, a->spec.protocol, output_event, a);
        a->adapter.plain = output_plain;
        a->adapter.quick = output_quick;
        a->job = a->executor->adopt(attempt_executor_self(a), row->handle, &a->spec, &attempt_job_events, a, &why);
    }
    outbox_mark(&a->outbox, a->spec.out_at, a->spec.err_at);
    if (!a->job) {
        LOG_WARN("a run that was left could not be adopted: it is executed again", LOG_S("runId", row->run),
                 LOG_Z("why", why));
        attempt_free(a);
        return false;
    }
    attempt_run(a);
    if (a->adapter.text && !a->remote) {
        a->executor->read_output(a->job, false);
        read_text(a);
    }
    worker_attempt_add(a);
    if (r->stop)
        attempt_stop(a);
    return true;
}

/* ---- left ---- */

bool attempt_can_leave(const struct attempt *a)
{
    return a->state == ATTEMPT_RUNNING && a->adoptable && a->job && a->end == END_NONE;
}

void attempt_leave(struct attempt *a)
{
    a->end = END_LEFT;
    a->executor->read_output(a->job, false);
    loop_timer_stop(&a->timeout);
    loop_timer_stop(&a->stall);
    loop_timer_stop(&a->stats);
    outbox_flush(&a->outbox);
    attempt_let_go(a, false);
}

/* What is not stored by then its successor reads again. */
void attempt_let_go(struct attempt *a, bool at_once)
{
    bool stored = outbox_empty(&a->outbox) && outbox_quiet(&a->outbox);
    if (a->end != END_LEFT || !a->job || !(stored || at_once))
        return;
    if (!stored)
        outbox_abandon(&a->outbox);
    a->executor->leave(a->job);
    a->job = NULL; /* it stays on the list: heartbeats name it as long as this process has others to end */
    worker_stop_if_done(a->shard->worker);
}

void attempt_forget(struct attempt *a)
{
    attempt_timers_stop(a);
    outbox_abandon(&a->outbox);
    bundle_release(a);
    attempt_free(a);
}
