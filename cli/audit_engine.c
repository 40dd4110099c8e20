#include "cli/audit_engine.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 1024

static const redisReply nil_reply = {.type = REDIS_REPLY_NIL};

/* ---- commands ---- */

void audit_fail(struct audit *a, enum err err)
{
    if (a->err == ERR_OK)
        a->err = err;
}

void audit_send(struct audit *a, int argc, const char *const *argv)
{
    if (a->err == ERR_OK && redisAppendCommandArgv(a->c, argc, (const char **)(uintptr_t)argv, NULL) != REDIS_OK)
        audit_fail(a, ERR_REDIS_UNAVAILABLE);
    a->pending++;
}

static bool keep_reply(struct audit *a, redisReply *r)
{
    if (a->replies_len == a->replies_cap) {
        size_t cap = a->replies_cap ? 2 * a->replies_cap : 256;
        redisReply **grown = realloc(a->replies, cap * sizeof(redisReply *));
        if (!grown)
            return false;
        a->replies = grown;
        a->replies_cap = cap;
    }
    a->replies[a->replies_len++] = r;
    return true;
}

const redisReply *audit_reply(struct audit *a)
{
    void *r = NULL;
    PRE(a->pending > 0);
    a->pending--;
    if (a->err != ERR_OK)
        return &nil_reply;
    if (redisGetReply(a->c, &r) != REDIS_OK) {
        audit_fail(a, ERR_REDIS_UNAVAILABLE);
        return &nil_reply;
    }
    if (!keep_reply(a, r)) {
        freeReplyObject(r);
        audit_fail(a, ERR_NO_MEMORY);
        return &nil_reply;
    }
    return r;
}

void audit_release(struct audit *a)
{
    for (size_t i = 0; i < a->replies_len; i++)
        freeReplyObject(a->replies[i]);
    a->replies_len = 0;
    arena_done(&a->work);
}

__attribute__((format(printf, 3, 0))) static const char *text_of(struct audit *a, const char *start, const char *fmt,
                                                                 va_list args)
{
    char buf[TEXT_MAX];
    int head = snprintf(buf, sizeof(buf), "%s", start);
    int tail = vsnprintf(buf + head, sizeof(buf) - (size_t)head, fmt, args);
    size_t len = (size_t)head + (size_t)(tail < 0 ? 0 : tail);
    char *text = arena_strdup(&a->work, (struct str){buf, len < sizeof(buf) ? len : sizeof(buf) - 1});
    if (!text)
        audit_fail(a, ERR_NO_MEMORY);
    return text ? text : "";
}

const char *audit_text(struct audit *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = text_of(a, "", fmt, args);
    va_end(args);
    return text;
}

const char *audit_key(struct audit *a, const char *fmt, ...)
{
    char start[128];
    snprintf(start, sizeof(start), "%.*s", STR_ARG(a->prefix));
    va_list args;
    va_start(args, fmt);
    const char *text = text_of(a, start, fmt, args);
    va_end(args);
    return text;
}

void audit_split(struct audit *a, const char *path, size_t n, const char **ret_parts)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = i + 1 < n ? strcspn(path, ":") : strlen(path);
        ret_parts[i] = arena_strdup(&a->names, (struct str){path, len});
        if (!ret_parts[i]) {
            audit_fail(a, ERR_NO_MEMORY);
            ret_parts[i] = "";
        }
        path += len + (path[len] == ':');
    }
}

const char *reply_text(const redisReply *r)
{
    bool text = r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS;
    return text && r->str ? r->str : "";
}

const char *reply_item(const redisReply *r, size_t i)
{
    return r->type == REDIS_REPLY_ARRAY && i < r->elements ? reply_text(r->element[i]) : "";
}

int64_t number_of(const char *text)
{
    return strtoll(text, NULL, 10);
}

bool word_in(const char *word, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(*words, word) == 0)
            return true;
    }
    return false;
}

void audit_found(struct audit *a, const char *path, const char *what)
{
    if (a->err != ERR_OK)
        return; /* what is missing was perhaps only not read */
    a->counts.findings++;
    a->found(a->found_ctx, path, what);
}

/* ---- expectations ---- */

void audit_expect(struct audit *a, const struct expect *e, int argc, const char *const *argv)
{
    if (a->expects_len == a->expects_cap) {
        size_t cap = a->expects_cap ? 2 * a->expects_cap : 1024;
        struct expect *grown = realloc(a->expects, cap * sizeof(*grown));
        if (!grown) {
            audit_fail(a, ERR_NO_MEMORY);
            return;
        }
        a->expects = grown;
        a->expects_cap = cap;
    }
    const char **words = NULL;
    if (argc > 0) {
        words = arena_alloc(&a->work, (size_t)argc * sizeof(*words));
        if (!words) {
            audit_fail(a, ERR_NO_MEMORY);
            return;
        }
        memcpy(words, argv, (size_t)argc * sizeof(*words));
    }
    struct expect *added = &a->expects[a->expects_len++];
    *added = *e;
    added->argc = argc;
    added->argv = words;
}

static bool want_nothing(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a, (void)e, (void)r;
    return false;
}

void audit_expect_that(struct audit *a, const char *path, bool holds, const char *what)
{
    if (!holds)
        audit_expect(a, &(struct expect){.path = path, .what = what, .want = want_nothing}, 0, NULL);
}

static bool is_score(const char *is, const char *wanted)
{
    /* Scores are whole numbers below 2^53, or sums of small fractions that nothing compares. */
    return *is && *wanted && fabs(strtod(is, NULL) - strtod(wanted, NULL)) < 0.5;
}

bool want_score(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a;
    return is_score(reply_text(r), e->value);
}

bool want_member(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a, (void)e;
    return r->type == REDIS_REPLY_STRING;
}

bool want_no_member(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a, (void)e;
    return r->type == REDIS_REPLY_NIL;
}

bool want_text(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a;
    return strcmp(reply_text(r), e->value) == 0;
}

static int64_t integer_of(const redisReply *r)
{
    return r->type == REDIS_REPLY_INTEGER ? r->integer : number_of(reply_text(r));
}

bool want_one(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a, (void)e;
    return integer_of(r) == 1;
}

bool want_above_zero(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a, (void)e;
    return integer_of(r) > 0;
}

bool want_at_most(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a;
    return integer_of(r) <= number_of(e->value);
}

bool want_at_least(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a;
    return integer_of(r) >= number_of(e->value);
}

bool want_entry(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)a;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 1 || r->element[0]->elements != 2)
        return false;
    return strcmp(reply_item(r->element[0]->element[1], 1), e->value) == 0;
}

bool want_add(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)e;
    a->sum += integer_of(r);
    return true;
}

bool want_add_member(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)e;
    a->sum += r->type == REDIS_REPLY_STRING;
    return true;
}

bool want_take_score(struct audit *a, const struct expect *e, const redisReply *r)
{
    a->sum -= is_score(reply_text(r), e->value);
    return true;
}

bool want_add_if_least(struct audit *a, const struct expect *e, const redisReply *r)
{
    a->sum += want_at_least(a, e, r);
    return true;
}

bool want_sum_is(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)r;
    int64_t sum = a->sum;
    a->sum = 0;
    return sum == number_of(e->value);
}

bool want_sum_some(struct audit *a, const struct expect *e, const redisReply *r)
{
    (void)e, (void)r;
    int64_t sum = a->sum;
    a->sum = 0;
    return sum > 0;
}

bool want_sum_none(struct audit *a, const struct expect *e, const redisReply *r)
{
    return !want_sum_some(a, e, r);
}

/* ---- judging ---- */

void audit_judge(struct audit *a, const size_t *ends, size_t n, bool *ret_failed)
{
    for (size_t i = 0; i < a->expects_len; i++) {
        if (a->expects[i].argc > 0)
            audit_send(a, a->expects[i].argc, a->expects[i].argv);
    }
    for (size_t i = 0, at = 0; i < n; i++) {
        ret_failed[i] = false;
        for (a->sum = 0; at < ends[i]; at++) {
            const struct expect *e = &a->expects[at];
            const redisReply *r = e->argc > 0 ? audit_reply(a) : &nil_reply;
            ret_failed[i] |= !e->want(a, e, r);
        }
    }
    a->expects_len = 0;
}

static bool same_reply(const redisReply *x, const redisReply *y)
{
    if (x->type != y->type || x->elements != y->elements || strcmp(reply_text(x), reply_text(y)) != 0)
        return false;
    for (size_t i = 0; i < x->elements; i++) {
        if (!same_reply(x->element[i], y->element[i]))
            return false;
    }
    return true;
}

bool audit_judge_atomically(struct audit *a, const char *const *guard, int guard_len, const redisReply *unchanged)
{
    size_t sent = 2;
    SEND(a, "MULTI");
    audit_send(a, guard_len, guard);
    for (size_t i = 0; i < a->expects_len; i++) {
        if (a->expects[i].argc > 0) {
            audit_send(a, a->expects[i].argc, a->expects[i].argv);
            sent++;
        }
    }
    SEND(a, "EXEC");
    for (size_t i = 0; i < sent; i++)
        (void)audit_reply(a); /* OK, QUEUED … */
    const redisReply *all = audit_reply(a);
    bool still = all->type == REDIS_REPLY_ARRAY && all->elements == sent - 1 && same_reply(all->element[0], unchanged);
    a->sum = 0;
    for (size_t i = 0, at = 1; still && i < a->expects_len; i++) {
        const struct expect *e = &a->expects[i];
        if (!e->want(a, e, e->argc > 0 ? all->element[at++] : &nil_reply))
            audit_found(a, e->path, e->what);
    }
    a->expects_len = 0;
    return still;
}
