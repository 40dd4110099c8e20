#include "api/audit.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/audit_log.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "lua/scripts.h"

enum { WHO_MAX = LIMIT_NAME, FROM_MAX = 64, REQUEST_LEN = 16 };

static void request_id(const struct http_req *req, char ret_id[REQUEST_LEN + 1])
{
    snprintf(ret_id, REQUEST_LEN + 1, "%016llx", (unsigned long long)req->id); /* as X-Request-Id says it */
}

static struct str cut(struct str s, size_t max)
{
    s.len = s.len < max ? s.len : max;
    s.len = utf8_complete_len(s);
    return s;
}

/* Text as JSON can say it again, or the chain would not hold for those who read it there. Into the arena; empty when memory is out. */
static struct str clean(struct arena *a, struct str s, size_t max)
{
    struct strbuf text;
    strbuf_init(&text, 4 * max);
    utf8_sanitize(&text, cut(s, max));
    struct str kept = arena_str(a, cut(strbuf_str(&text), max));
    strbuf_done(&text);
    return kept;
}

/* The route's operationId; of an unversioned path that of the route that it stands for. */
static const char *operation(const struct route *route)
{
    for (size_t i = 0; !route->id && i < routes_len; i++)
        if (routes[i].fn == route->fn && routes[i].id)
            return routes[i].id;
    return route->id ? route->id : route->pattern;
}

static struct script_audit_add_args args_of(struct call *c, struct str object, struct str detail, char request[17])
{
    request_id(c->req, request);
    return (struct script_audit_add_args){
        .ws = c->workspace,
        .who = c->created_by.len > 0 ? cut(c->created_by, WHO_MAX) : STR("anonymous"),
        .from = cut(call_client(c), FROM_MAX),
        .what = str_of(operation(c->route)),
        .object = object,
        .request = str_of(request),
        .outcome = STR(""),
        .detail = detail,
        .max = LIMIT_AUDIT_ENTRIES,
    };
}

/* ---- what is done ---- */

struct announced {
    struct call *call;
    void (*next)(struct call *c);
};

static void on_added(void *ctx, enum err err, const struct script_audit_add_reply *reply)
{
    struct announced *a = ctx;
    struct call *c = a->call;
    (void)reply;
    metric_add(err ? METRIC_AUDIT_FAILED : METRIC_AUDIT_ENTRIES, 1);
    if (err) {
        call_problem(c, err, "the audit log could not be written, so nothing was done");
        return;
    }
    c->audited = true;
    a->next(c);
}

void audit_then_with(struct call *c, struct str object, struct str detail, void (*next)(struct call *c))
{
    struct announced *a = arena_zalloc(&c->req->arena, sizeof *a);
    char request[REQUEST_LEN + 1];
    PRE(!c->audited && detail.len <= LIMIT_AUDIT_DETAIL);
    if (!a) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    *a = (struct announced){c, next};
    c->audit_object = clean(&c->req->arena, object, LIMIT_AUDIT_OBJECT);
    struct script_audit_add_args args = args_of(c, c->audit_object, detail, request);
    script_call_audit_add(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_added, a);
}

void audit_then(struct call *c, struct str object, void (*next)(struct call *c))
{
    audit_then_with(c, object, STR(""), next);
}

void audit_done(struct call *c)
{
    c->audited = false;
}

/* Nobody waits for it: the answer says the same. */
static void on_outcome(void *ctx, enum err err, const struct script_audit_add_reply *reply)
{
    (void)ctx;
    (void)reply;
    metric_add(err ? METRIC_AUDIT_FAILED : METRIC_AUDIT_ENTRIES, 1);
    if (err && err != ERR_CANCELED)
        LOG_ERROR("an entry of an audit log was not written", LOG_Z("code", err_code(err)));
}

void audit_outcome(struct call *c, enum err err)
{
    char request[REQUEST_LEN + 1];
    if (!c->audited && err == ERR_FORBIDDEN)
        audit_refused(c, err, c->created_by, c->workspace);
    if (!c->audited)
        return;
    c->audited = false;
    struct script_audit_add_args args = args_of(c, c->audit_object, STR(""), request);
    args.outcome = str_of(err_code(err));
    script_call_audit_add(call_shard(c)->commands, shard_prefix(call_shard(c)), &args, on_outcome, NULL);
}

/* ---- refused attempts ---- */

enum { SLOTS = 128, MINUTE_MS = 60000, LOOK_MS = 1000 };

/* A key that was refused with a code lately. who empty: free. */
struct refusal {
    char ws[LIMIT_NAME + 1], who[WHO_MAX + 1], from[FROM_MAX + 1], request[REQUEST_LEN + 1];
    const char *what;
    enum err err;
    int64_t until_ms; /* the end of its minute, monotonic */
    int64_t more;     /* behind the first one; from, request and what are the last one's */
};

struct audit_refusals {
    struct node *node;
    struct loop_timer timer;
    struct refusal slots[SLOTS];
};

static void copy(char *to, size_t cap, struct str s)
{
    s = cut(s, cap - 1);
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    to[s.len] = 0;
}

static void refusal_write(struct audit_refusals *r, const struct refusal *f, int64_t times)
{
    struct shard *shard = node_shard_of_workspace(r->node, str_of(f->ws));
    char detail[48] = "";
    if (times > 0)
        snprintf(detail, sizeof detail, "{\"times\":%lld}", (long long)times);
    struct script_audit_add_args args = {.ws = str_of(f->ws),
                                         .who = str_of(f->who),
                                         .from = str_of(f->from),
                                         .what = str_of(f->what),
                                         .object = STR(""),
                                         .request = str_of(f->request),
                                         .outcome = str_of(err_code(f->err)),
                                         .detail = str_of(detail),
                                         .max = LIMIT_AUDIT_ENTRIES};
    script_call_audit_add(shard->commands, shard_prefix(shard), &args, on_outcome, NULL);
}

/* Frees the slots whose minute is over (all: every one). The number of entries written; *ret_left whether any is in use still. */
static size_t settle(struct audit_refusals *r, bool all, bool *ret_left)
{
    int64_t now = clock_mono_ms();
    size_t written = 0;
    *ret_left = false;
    for (size_t i = 0; i < SLOTS; i++) {
        struct refusal *f = &r->slots[i];
        if (!f->who[0] || (!all && f->until_ms > now)) {
            *ret_left = *ret_left || f->who[0];
            continue;
        }
        if (f->more > 0) {
            refusal_write(r, f, f->more);
            written++;
        }
        f->who[0] = 0;
    }
    return written;
}

static void on_look(void *ctx)
{
    struct audit_refusals *r = ctx;
    bool left;
    (void)settle(r, false, &left);
    if (left)
        loop_timer_set(&r->timer, LOOK_MS);
}

/* The one of that key, workspace and code, or a free one; NULL when there is neither. */
static struct refusal *slot_of(struct audit_refusals *r, enum err err, struct str who, struct str workspace)
{
    struct refusal *unused = NULL;
    for (size_t i = 0; i < SLOTS; i++) {
        struct refusal *f = &r->slots[i];
        if (!f->who[0])
            unused = unused ? unused : f;
        else if (f->err == err && str_eqz(cut(who, WHO_MAX), f->who) && str_eqz(workspace, f->ws))
            return f;
    }
    return unused;
}

void audit_refused(struct call *c, enum err err, struct str who, struct str workspace)
{
    struct audit_refusals *r = c->node->refusals;
    if (!r || who.len == 0 || !keys_name_valid(workspace))
        return;
    struct refusal *f = slot_of(r, err, who, workspace);
    if (!f) {
        metric_add(METRIC_AUDIT_DROPPED, 1);
        return;
    }
    bool first = !f->who[0];
    if (first)
        *f = (struct refusal){.err = err, .until_ms = clock_mono_ms() + MINUTE_MS};
    copy(f->ws, sizeof f->ws, workspace);
    copy(f->who, sizeof f->who, who);
    copy(f->from, sizeof f->from, call_client(c));
    request_id(c->req, f->request);
    f->what = operation(c->route);
    if (first) {
        refusal_write(r, f, 0);
        loop_timer_set(&r->timer, LOOK_MS);
    } else {
        f->more++;
    }
}

struct audit_refusals *audit_refusals_new(struct node *n)
{
    struct audit_refusals *r = calloc(1, sizeof *r);
    if (r) {
        r->node = n;
        loop_timer_init(&r->timer, n->loop, on_look, r);
    }
    return r;
}

bool audit_refusals_flush(struct audit_refusals *r)
{
    bool left;
    return settle(r, true, &left) > 0;
}

void audit_refusals_free(struct audit_refusals *r)
{
    if (r)
        loop_timer_stop(&r->timer);
    free(r);
}

/* ---- reading ---- */

bool audit_entry_read(struct str id, const redisReply *fields, struct chain_entry *ret_entry)
{
    struct chain_entry e;
    if (!chain_id(id, &e.t_ms, &e.n))
        return false;
    e.who = redis_str(redis_field(fields, "who"));
    e.from = redis_str(redis_field(fields, "from"));
    e.what = redis_str(redis_field(fields, "what"));
    e.object = redis_str(redis_field(fields, "object"));
    e.request = redis_str(redis_field(fields, "request"));
    e.outcome = redis_str(redis_field(fields, "outcome"));
    e.detail = redis_str(redis_field(fields, "detail"));
    *ret_entry = e;
    return true;
}
