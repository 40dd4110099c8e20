#include "api/filter.h"

#include "common/clock.h"
#include "common/id.h"
#include "common/keys.h"

#define STATUS_DETAIL "status must be scheduled, queued, provisioning, running, stopping, success, error or stopped"
#define TIME_DETAIL   "%s must be a time like 2026-01-02T03:04:05.678Z"

static bool status_known(struct str s)
{
    static const char *const names[] = {"scheduled", "queued",  "provisioning", "running",
                                        "stopping",  "success", "error",        "stopped"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(s, names[i]))
            return true;
    return false;
}

/* How a label is stored: `"key":"value"`. */
static struct str label_needle(struct call *c, struct str key, struct str value)
{
    struct strbuf text;
    strbuf_init(&text, 8 * LIMIT_TARGET);
    json_quote(&text, key);
    strbuf_addc(&text, ':');
    json_quote(&text, value);
    struct str needle = arena_str(&c->req->arena, strbuf_str(&text));
    strbuf_done(&text);
    return needle;
}

bool filter_cursor_valid(struct str s)
{
    const char *colon = s.len ? memchr(s.ptr, ':', s.len) : NULL;
    struct id id;
    if (!colon || colon == s.ptr || colon - s.ptr > 17)
        return false;
    for (const char *p = s.ptr; p < colon; p++)
        if (*p < '0' || *p > '9')
            return false;
    return id_parse((struct str){colon + 1, s.len - (size_t)(colon + 1 - s.ptr)}, &id);
}

struct script_list_args filter_args(const struct call *c, const struct run_filter *f)
{
    return (struct script_list_args){.ws = c->workspace,
                                     .agents_in = c->agents,
                                     .queues_in = c->queues,
                                     .dead = f->dead,
                                     .agent = f->agent,
                                     .queue = f->queue,
                                     .schedule = f->schedule,
                                     .statuses = f->statuses,
                                     .statuses_len = f->status_count,
                                     .labels = f->labels,
                                     .labels_len = f->label_count,
                                     .created_by = f->created_by,
                                     .since_ms = f->since_ms,
                                     .until_ms = f->until_ms};
}

/* ---- from the query ---- */

static bool refuse_parameter(struct call *c, const char *detail)
{
    call_problem(c, ERR_INVALID_PARAMETER, detail);
    return false;
}

static bool query_statuses(struct call *c, struct run_filter *f)
{
    struct str v;
    for (size_t i = 0; http_query(c->req, "status", i, &v); i++) {
        if (!status_known(v) || f->status_count >= FILTER_MAX)
            return refuse_parameter(c, STATUS_DETAIL);
        f->statuses[f->status_count++] = v;
    }
    return true;
}

static bool query_labels(struct call *c, struct run_filter *f)
{
    struct str v;
    for (size_t i = 0; http_query(c->req, "label", i, &v); i++) {
        const char *colon = v.len ? memchr(v.ptr, ':', v.len) : NULL;
        if (!colon || f->label_count >= FILTER_MAX)
            return refuse_parameter(c, "label must be key:value");
        f->labels[f->label_count++] = label_needle(c, (struct str){v.ptr, (size_t)(colon - v.ptr)},
                                                   (struct str){colon + 1, v.len - (size_t)(colon + 1 - v.ptr)});
    }
    return true;
}

static bool query_time(struct call *c, const char *name, int64_t *ret_ms)
{
    struct str v;
    if (http_query(c->req, name, 0, &v) && !clock_parse_iso(v, ret_ms))
        return refuse_parameter(c, call_text(c, TIME_DETAIL, name));
    return true;
}

bool filter_from_query(struct call *c, struct run_filter *ret_filter)
{
    struct run_filter *f = ret_filter;
    struct str v;
    *f = (struct run_filter){.dead = false};
    if (http_query(c->req, "agent", 0, &v) || http_query(c->req, "agent_id", 0, &v))
        f->agent = v;
    if (http_query(c->req, "createdBy", 0, &v))
        f->created_by = str_eqz(v, "me") ? c->created_by : v;
    if (http_query(c->req, "queue", 0, &v))
        f->queue = v;
    if (http_query(c->req, "schedule", 0, &v))
        f->schedule = v;
    if (http_query(c->req, "deadLetter", 0, &v)) {
        if (!str_eqz(v, "true"))
            return refuse_parameter(c, "deadLetter must be true; leave it out to see all runs");
        f->dead = true;
    }
    return query_statuses(c, f) && query_labels(c, f) && query_time(c, "since", &f->since_ms) &&
           query_time(c, "until", &f->until_ms);
}

/* ---- from a body. An empty value would mean "all", which nobody may get by a slip: it is refused. ---- */

struct reading {
    struct call *call;
    struct run_filter *filter;
    struct fault *fault;
};
typedef bool (*member_fn)(struct reading *r, const struct json *v, const char *name, void *out);

static bool refuse(struct reading *r, const char *detail)
{
    *r->fault = (struct fault){ERR_INVALID_FIELD, detail};
    return false;
}

static bool take_name(struct reading *r, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || !keys_name_valid(v->string))
        return refuse(r,
                      call_text(r->call, "filter.%s must be a name: a string of 1 to %d letters, digits, '.', '_', '-'",
                                name, LIMIT_NAME));
    *(struct str *)out = v->string;
    return true;
}

static bool take_creator(struct reading *r, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.len > LIMIT_LABEL_BYTES)
        return refuse(r, call_text(r->call, "filter.%s must be a key's id, or \"me\"", name));
    *(struct str *)out = str_eqz(v->string, "me") ? r->call->created_by : v->string;
    return true;
}

static bool add_status(struct reading *r, const struct json *v)
{
    if (v->type != JSON_STRING || !status_known(v->string) || r->filter->status_count >= FILTER_MAX)
        return refuse(r, "filter." STATUS_DETAIL);
    r->filter->statuses[r->filter->status_count++] = v->string;
    return true;
}

static bool take_status(struct reading *r, const struct json *v, const char *name, void *out)
{
    (void)name;
    (void)out;
    if (v->type != JSON_ARRAY)
        return add_status(r, v);
    if (v->count == 0)
        return refuse(r, "filter.status must name a status; leave it out for all");
    for (const struct json *s = v->child; s; s = s->next)
        if (!add_status(r, s))
            return false;
    return true;
}

static bool take_labels(struct reading *r, const struct json *v, const char *name, void *out)
{
    (void)out;
    if (v->type != JSON_OBJECT || v->count == 0 || v->count > FILTER_MAX || v->repeated_key)
        return refuse(r,
                      call_text(r->call, "filter.%s must be an object of 1 to %d labels, each once", name, FILTER_MAX));
    for (const struct json *m = v->child; m; m = m->next) {
        if (m->type != JSON_STRING || m->string.len > LIMIT_LABEL_BYTES || m->key.len == 0 ||
            m->key.len > LIMIT_LABEL_BYTES)
            return refuse(r, call_text(r->call, "filter.%s: each must be a string of at most %d bytes, its key too",
                                       name, LIMIT_LABEL_BYTES));
        r->filter->labels[r->filter->label_count++] = label_needle(r->call, m->key, m->string);
    }
    return true;
}

static bool take_time(struct reading *r, const struct json *v, const char *name, void *out)
{
    int64_t ms;
    if (v->type != JSON_STRING || !clock_parse_iso(v->string, &ms) || ms <= 0)
        return refuse(r, call_text(r->call, "filter." TIME_DETAIL, name));
    *(int64_t *)out = ms;
    return true;
}

static bool take_dead(struct reading *r, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_BOOL || !v->boolean)
        return refuse(r, call_text(r->call, "filter.%s must be true; leave it out for all runs", name));
    *(bool *)out = true;
    return true;
}

bool filter_from_json(struct call *c, const struct json *o, struct run_filter *ret_filter, struct fault *ret_fault)
{
    static const struct {
        const char *name;
        member_fn fn;
        size_t offset;
    } members[] = {
        {"agent", take_name, offsetof(struct run_filter, agent)},
        {"status", take_status, 0},
        {"labels", take_labels, 0},
        {"createdBy", take_creator, offsetof(struct run_filter, created_by)},
        {"since", take_time, offsetof(struct run_filter, since_ms)},
        {"until", take_time, offsetof(struct run_filter, until_ms)},
        {"queue", take_name, offsetof(struct run_filter, queue)},
        {"schedule", take_name, offsetof(struct run_filter, schedule)},
        {"deadLetter", take_dead, offsetof(struct run_filter, dead)},
    };
    struct run_filter filter = {.dead = false};
    struct reading r = {c, &filter, ret_fault};
    if (o->type != JSON_OBJECT || o->repeated_key)
        return refuse(&r, "filter must be an object, each of its fields once; {} means every run");
    for (const struct json *m = o->child; m; m = m->next) {
        size_t i = 0;
        while (i < ARRAY_LEN(members) && !str_eqz(m->key, members[i].name))
            i++;
        if (i == ARRAY_LEN(members)) {
            *ret_fault =
                (struct fault){ERR_UNKNOWN_FIELD, call_text(c, "filter.%.*s is not a field of a filter; remove it",
                                                            (int)(m->key.len > 64 ? 64 : m->key.len), m->key.ptr)};
            return false;
        }
        if (!members[i].fn(&r, m, members[i].name, (char *)&filter + members[i].offset))
            return false;
    }
    *ret_filter = filter;
    return true;
}
