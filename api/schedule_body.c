#include "api/schedule_body.h"

#include "api/validate_fields.h"
#include "common/clock.h"
#include "common/keys.h"

static bool short_text(struct check *c, const struct json *v, const char *name, size_t max, struct str *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || v->string.len > max || memchr(v->string.ptr, 0, v->string.len))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string of 1 to %zu bytes", name, max);
    *out = v->string;
    return true;
}

static bool take_cron(struct check *c, const struct json *v, const char *name, void *out)
{
    return short_text(c, v, name, LIMIT_CRON, out);
}

static bool take_zone(struct check *c, const struct json *v, const char *name, void *out)
{
    return short_text(c, v, name, ZONE_NAME_MAX, out);
}

/* However far ahead: a schedule keeps no run that waits for it. */
static bool take_moment(struct check *c, const struct json *v, const char *name, void *out)
{
    int64_t ms;
    if (v->type != JSON_STRING || !clock_parse_iso(v->string, &ms) || ms <= 0)
        return refuse(c, ERR_INVALID_FIELD, "%s must be a time like 2026-01-02T03:04:05.678Z", name);
    *(int64_t *)out = ms;
    return true;
}

static bool take_overlap(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[] = {"skip", "queue", "replace", "allow"};
    *(struct str *)out = v->type == JSON_STRING ? v->string : STR_NONE;
    return one_of(c, *(struct str *)out, name, words, ARRAY_LEN(words));
}

static bool take_catch_up(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const words[CATCH_UP_COUNT] = {"skip", "last", "all"};
    *(struct str *)out = v->type == JSON_STRING ? v->string : STR_NONE;
    return one_of(c, *(struct str *)out, name, words, ARRAY_LEN(words));
}

static bool take_paused(struct check *c, const struct json *v, const char *name, void *out)
{
    bool paused;
    if (!take_bool(c, v, name, &paused))
        return false;
    *(int *)out = paused;
    return true;
}

/* A submission, without what a schedule decides itself. */
static bool take_run(struct check *c, const struct json *v, const char *name, void *out)
{
    static const char *const not_here[] = {"delayMs", "scheduledAt", "parentRunId", "dependsOn", "onDependencyFailure"};
    struct schedule_body *b = (struct schedule_body *)((char *)out - offsetof(struct schedule_body, run_json));
    (void)name;
    for (size_t i = 0; i < ARRAY_LEN(not_here); i++)
        if (json_get(v, not_here[i]))
            return refuse(c, ERR_INVALID_FIELD, "run.%s has no meaning in a schedule; remove it", not_here[i]);
    const struct json *webhook = json_get(v, "webhook");
    if (webhook &&
        webhook->type == JSON_OBJECT) /* what was sent is shown with the schedule, and a secret must not be */
        return refuse(c, ERR_INVALID_FIELD, "run.webhook of a schedule must be a stored webhook's id");
    b->run_json = v->raw;
    return validate_submission(c->arena, v, "run.", 0, &b->run, c->fault);
}

static const struct field fields[] = {
#define AT(member) offsetof(struct schedule_body, member)
    {"name", take_name, AT(name), 0, 0},
    {"cron", take_cron, AT(spec.cron), 0, 0},
    {"everyMs", NULL, AT(spec.every_ms), LIMIT_EVERY_MIN_MS, LIMIT_EVERY_MS},
    {"timeZone", take_zone, AT(spec.zone), 0, 0},
    {"jitterMs", NULL, AT(jitter_ms), 0, LIMIT_JITTER_MS},
    {"startAt", take_moment, AT(spec.start_ms), 0, 0},
    {"endAt", take_moment, AT(spec.end_ms), 0, 0},
    {"overlap", take_overlap, AT(overlap), 0, 0},
    {"catchUp", take_catch_up, AT(catch_up), 0, 0},
    {"paused", take_paused, AT(paused), 0, 0},
    {"run", take_run, AT(run_json), 0, 0},
#undef AT
};

static bool check_name(struct check *c, struct schedule_body *b, struct str in_path)
{
    if (in_path.len > 0 && b->name.len > 0 && !str_eq(in_path, b->name))
        return refuse(c, ERR_INVALID_FIELD, "name differs from the path's; leave it out, or make them equal");
    if (in_path.len > 0)
        b->name = in_path;
    return b->name.len > 0 || refuse(c, ERR_MISSING_FIELD, "name is required");
}

static bool check_times(struct check *c, struct schedule_spec *s)
{
    char why[CRON_WHY_MAX + 64];
    struct schedule parsed;
    if (s->cron.len == 0 && s->every_ms == 0)
        return refuse(c, ERR_MISSING_FIELD, "cron or everyMs is required: when does it run?");
    if (s->cron.len > 0 && s->every_ms > 0)
        return refuse(c, ERR_INVALID_FIELD, "cron and everyMs exclude each other; send one of them");
    if (s->every_ms > 0 && s->zone.len > 0)
        return refuse(c, ERR_INVALID_FIELD, "timeZone goes with cron; an interval is the same everywhere");
    if (s->end_ms > 0 && s->end_ms <= s->start_ms)
        return refuse(c, ERR_INVALID_FIELD, "endAt must be behind startAt");
    if (s->zone.len == 0)
        s->zone = STR("UTC");
    bool ok = schedule_init(&parsed, s, why);
    schedule_done(&parsed);
    return ok || refuse(c, ERR_INVALID_FIELD, "%s", why);
}

bool schedule_body_read(struct arena *a, const struct json *root, struct str name, struct schedule_body *ret_body,
                        struct fault *ret_fault)
{
    struct schedule_body b = {.overlap = STR("skip"), .catch_up = STR("skip"), .paused = -1};
    struct check c = {a, "", ret_fault};
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "a schedule must be an object");
    if (!take_object(&c, root, fields, ARRAY_LEN(fields), &b) || !check_name(&c, &b, name) || !check_times(&c, &b.spec))
        return false;
    if (b.run_json.len == 0)
        return refuse(&c, ERR_MISSING_FIELD, "run is required: what POST /v1/runs takes");
    if (!str_eqz(b.run.on_limit, "queue") && !str_eqz(b.overlap, "allow"))
        return refuse(
            &c, ERR_INVALID_FIELD,
            "run.concurrencyKey.onLimit must be \"queue\" where overlap is not \"allow\": overlap decides what "
            "happens to runs that meet");
    *ret_body = b;
    return true;
}
