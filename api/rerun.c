#include "api/rerun.h"

#include <stdlib.h>

#include "api/record.h"
#include "lua/scripts.h"

struct rerun {
    struct rerun_order order;
    struct id source;
};

static void refuse_unknown(void *ctx)
{
    struct rerun *r = ctx;
    r->order.fn(r->order.ctx, ERR_RUN_NOT_FOUND, NULL);
    free(r);
}

enum { REQUIRES_MAX = 2 * LIMIT_TAGS /* the definition's own and the submission's */ };

/* The next word of a list with a blank between two. */
static bool next_word(struct str *list, struct str *ret_word)
{
    const char *space = list->len ? memchr(list->ptr, ' ', list->len) : NULL;
    *ret_word = (struct str){list->ptr, space ? (size_t)(space - list->ptr) : list->len};
    list->ptr += ret_word->len + (space ? 1 : 0);
    list->len -= ret_word->len + (space ? 1 : 0);
    return ret_word->len > 0;
}

/* The gates that the submission itself asked for: those of the agent and the workspace come by themselves, and a schedule's holds back its ticks only. */
static void take_gates(struct submission *sub, struct str gates)
{
    struct str word;
    while (next_word(&gates, &word))
        if ((str_starts(word, STR("k:")) || str_starts(word, STR("rk:"))) && sub->gates_len < ARRAY_LEN(sub->gates))
            sub->gates[sub->gates_len++] = word;
}

/* The tags of the requirement; what begins with @ comes from the definition by itself. */
static void take_requires(struct submission *sub, struct str text)
{
    struct str word;
    while (next_word(&text, &word))
        if (word.ptr[0] != '@' && sub->requires_len < REQUIRES_MAX)
    sub->requires[sub->requires_len++] = word;
}

/* The submission borrows from the reply: a submit copies what it sends before it returns. */
static void on_source(void *ctx, enum err err, const struct script_show_reply *reply)
{
    struct rerun *r = ctx;
    const struct rerun_order *o = &r->order;
    if (err) {
        o->fn(o->ctx, err, NULL);
        free(r);
        return;
    }
    const redisReply *f = reply->record;
    struct str requires[REQUIRES_MAX];
    struct submission sub = {.agent = record_field(f, "agent"),
                             .input = record_field(f, "input"),
                             .env = record_field(f, "env"),
                             .queue = record_field(f, "queue"),
                             .priority = record_field(f, "priority").len ? record_field(f, "priority") : STR("normal"),
                             .labels = record_field(f, "labels"),
                             .session = record_field(f, "sessionId"),
                             .hook = record_field(f, "hook"),
                             .hook_url = record_field(f, "hookUrl"),
                             .hook_sealed = record_field(f, "hookSecret"),
                             .on_limit =
                                 str_starts(record_field(f, "gates"), STR("k:")) && record_field(f, "onLimit").len
                                     ? record_field(f, "onLimit") /* a schedule's goes with its ticks only */
                                     : STR("queue"),
                             .on_dep_fail = STR("fail"),
                             .start_within_ms = redis_int(redis_field(f, "startWithinMs"), 0),
                             .stall_ms = redis_int(redis_field(f, "stallMs"), 0),
                             .requires = requires,
                             .timeout_ms = redis_int(redis_field(f, "timeoutMs"), 0),
                             .max_attempts = redis_int(redis_field(f, "maxAttempts"), 0)};
    take_gates(&sub, record_field(f, "gates"));
    take_requires(&sub, record_field(f, "reqText"));
    struct submit_order order = {.call = o->call,
                                 .sub = &sub,
                                 .idem_key = o->idem_key,
                                 .idem_digest = o->idem_digest,
                                 .def_digest = record_field(f, "def"),
                                 .agent_version = record_field(f, "agentVersion"),
                                 .rerun_of = str_of(r->source.s),
                                 .redrive = o->redrive ? str_of(r->source.s) : STR(""),
                                 .fn = o->fn,
                                 .ctx = o->ctx};
    submit_run(&order);
    free(r);
}

void rerun_run(const struct rerun_order *order)
{
    struct call *c = order->call;
    struct shard *shard = node_shard_of_run(c->node, order->run_id);
    struct rerun *r = calloc(1, sizeof *r);
    PRE(r);
    r->order = *order;
    if (!shard || !id_parse(order->run_id, &r->source)) {
        loop_defer(c->node->loop, refuse_unknown, r);
        return;
    }
    struct script_show_args args = {.ws = c->workspace, .run = str_of(r->source.s), .after = -1, .whole = 1};
    script_call_show(shard->commands, shard_prefix(shard), &args, on_source, r);
}
