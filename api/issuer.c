#include "api/issuer.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/limits.h"
#include "common/log.h"

enum {
    FETCH_MS = 5000, /* each of the two requests */
    FRESH_MIN_MS = 5 * 60000,
    FRESH_MAX_MS = 24 * 3600000,
    STALE_MS = 3600000,
    UNKNOWN_KEY_MS = 60000, /* between two questions for a key that is not there */
    FAILED_MS = 10000,      /* between two questions when the last one failed */
    URL_MAX = LIMIT_TRUST_TEXT + 64,
};

struct waiter {
    issuer_fn fn;
    void *ctx;
};

/* An issuer, with the URI of its keys where a policy says it: two policies that differ there share nothing. */
struct issuer {
    struct issuers *set;
    char *name, *jwks_uri;
    struct jwks *keys;                         /* NULL: none yet, or none any more */
    int64_t fresh_until_ms, asked_ms, used_ms; /* monotonic; asked_ms 0: never */
    bool asking, failed;                       /* failed: the last question */
    unsigned held;                             /* looked at by what is under way: it stays */
    struct waiter waiters[LIMIT_JWKS_WAITERS];
    size_t waiting;
};

struct issuers {
    struct loop *loop;
    struct http_client *http;
    bool https_only;
    int64_t (*now_ms)(void);
    struct issuer *list[LIMIT_ISSUERS];
    size_t count;
};

struct issuers *issuers_new(struct loop *l, struct http_client *http, bool https_only, int64_t (*now_ms)(void))
{
    struct issuers *s = calloc(1, sizeof *s);
    if (s)
        *s = (struct issuers){.loop = l, .http = http, .https_only = https_only, .now_ms = now_ms};
    return s;
}

static void issuer_free(void *p)
{
    struct issuer *i = p;
    jwks_free(i->keys);
    free(i->name);
    free(i->jwks_uri);
    free(i);
}

static bool keys_usable(const struct issuer *i)
{
    return i->keys && i->set->now_ms() < i->fresh_until_ms + STALE_MS;
}

/* Tells who waits. They may ask again at once, which is a new question. */
static void tell(struct issuer *i, enum err err)
{
    struct waiter waiters[LIMIT_JWKS_WAITERS];
    size_t n = i->waiting;
    memcpy(waiters, i->waiters, n * sizeof waiters[0]);
    i->waiting = 0;
    i->held++;
    if (!err && !keys_usable(i))
        err = ERR_ISSUER_UNAVAILABLE;
    for (size_t w = 0; w < n; w++)
        waiters[w].fn(waiters[w].ctx, err, err ? NULL : i->keys);
    i->held--;
}

/* What was there already, in a turn of its own. Who came when a question had begun meanwhile waits for its answer. */
static void tell_later(void *ctx)
{
    struct issuer *i = ctx;
    i->held--;
    if (!i->asking)
        tell(i, ERR_OK);
}

void issuers_free(struct issuers *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        tell(s->list[i], ERR_CANCELED);
        loop_defer_free(s->loop, issuer_free, s->list[i]);
    }
    loop_defer_free(s->loop, free, s); /* behind tell_later, which looks at both */
}

struct str issuer_origin(struct str url)
{
    size_t begin = str_starts(url, STR("https://")) ? 8 : str_starts(url, STR("http://")) ? 7 : 0, end = begin;
    for (size_t i = 0; i < url.len; i++)
        if (url.ptr[i] <= ' ' || url.ptr[i] > '~' || strchr("\"<>\\^`{|}#", url.ptr[i]))
            return STR("");
    while (begin > 0 && end < url.len && url.ptr[end] != '/' && url.ptr[end] != '?') {
        if (url.ptr[end++] == '@')
            return STR("");
    }
    return end > begin ? (struct str){url.ptr, end} : STR("");
}

/* ---- asking ---- */

static void done(struct issuer *i, enum err err, const char *why)
{
    i->asking = false;
    i->failed = err != ERR_OK;
    if (err && err != ERR_CANCELED)
        LOG_WARN("an issuer's keys can't be had", LOG_S("issuer", str_of(i->name)), LOG_S("why", str_of(why)));
    tell(i, err == ERR_CANCELED ? err : ERR_OK); /* what is kept from before may still do */
}

static void ask(struct issuer *i, const char *url, http_answer_fn fn)
{
    static const struct str headers[] = {{"Accept: application/json", sizeof "Accept: application/json" - 1}};
    struct http_call call = {.method = "GET",
                             .url = url,
                             .headers = headers,
                             .header_count = 1,
                             .timeout_ms = FETCH_MS,
                             .max_response = LIMIT_JWKS,
                             .https_only = i->set->https_only};
    http_client_send(i->set->http, &call, fn, i);
}

static const char *complaint(enum err err, const struct http_answer *answer)
{
    if (err)
        return answer->error ? answer->error : err_sentence(err);
    return answer->status == 200 ? NULL : "it does not answer 200";
}

static void on_keys(void *ctx, enum err err, const struct http_answer *answer)
{
    struct issuer *i = ctx;
    struct jwks *keys;
    const char *why = complaint(err, answer);
    if (why) {
        done(i, err ? err : ERR_IO, why);
        return;
    }
    err = jwks_read(answer->body, &keys, &why);
    if (err) {
        done(i, err, why);
        return;
    }
    int64_t fresh_ms = answer->max_age_s < 0                     ? 0
                       : answer->max_age_s > FRESH_MAX_MS / 1000 ? FRESH_MAX_MS
                                                                 : answer->max_age_s * 1000;
    jwks_free(i->keys);
    i->keys = keys;
    i->fresh_until_ms = i->set->now_ms() + (fresh_ms < FRESH_MIN_MS ? FRESH_MIN_MS : fresh_ms);
    done(i, ERR_OK, NULL);
}

/* The jwks_uri of an issuer's description, which must be its own and stay with it. */
static const char *read_description(struct arena *a, const struct issuer *i, struct str body, struct str *ret_uri)
{
    struct json *root;
    if (json_parse(a, body, 16, 2, &root, NULL) || root->type != JSON_OBJECT || root->repeated_key)
        return "its description is no JSON object";
    const struct json *name = json_get(root, "issuer"), *uri = json_get(root, "jwks_uri");
    if (!name || name->type != JSON_STRING || !str_eqz(name->string, i->name))
        return "its description is of another issuer";
    struct str origin =
        uri && uri->type == JSON_STRING && uri->string.len < URL_MAX ? issuer_origin(uri->string) : STR_NONE;
    if (origin.len == 0 || !str_eq(origin, issuer_origin(str_of(i->name))))
        return "its keys are on another host; where that is right, the policy says so with jwksUri";
    *ret_uri = uri->string;
    return NULL;
}

static void on_description(void *ctx, enum err err, const struct http_answer *answer)
{
    struct issuer *i = ctx;
    struct arena a;
    struct str uri;
    const char *why = complaint(err, answer);
    arena_init(&a, 16U << 20);
    if (!why)
        why = read_description(&a, i, answer->body, &uri);
    if (why)
        done(i, err ? err : ERR_IO, why);
    else
        ask(i, uri.ptr, on_keys);
    arena_done(&a);
}

static void question(struct issuer *i)
{
    char url[URL_MAX];
    i->asking = true;
    i->asked_ms = i->set->now_ms();
    if (i->jwks_uri[0]) {
        ask(i, i->jwks_uri, on_keys);
        return;
    }
    size_t len = strlen(i->name);
    while (len > 0 && i->name[len - 1] == '/')
        len--;
    snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)len, i->name);
    ask(i, url, on_description);
}

/* ---- whom is asked ---- */

static struct issuer *issuer_new(struct issuers *s, struct str name, struct str jwks_uri)
{
    struct issuer *i = calloc(1, sizeof *i);
    if (!i)
        return NULL;
    i->set = s;
    i->name = strndup(name.ptr, name.len);
    i->jwks_uri = strndup(jwks_uri.len ? jwks_uri.ptr : "", jwks_uri.len);
    if (i->name && i->jwks_uri)
        return i;
    issuer_free(i);
    return NULL;
}

/* A place for one more; the one that was not wanted for longest makes room. NULL when each of them is being asked. */
static struct issuer **place(struct issuers *s)
{
    struct issuer **oldest = NULL;
    if (s->count < LIMIT_ISSUERS)
        return &s->list[s->count++];
    for (size_t n = 0; n < s->count; n++)
        if (!s->list[n]->asking && s->list[n]->held == 0 && (!oldest || s->list[n]->used_ms < (*oldest)->used_ms))
            oldest = &s->list[n];
    if (oldest)
        issuer_free(*oldest);
    return oldest;
}

static struct issuer *find(struct issuers *s, struct str name, struct str jwks_uri)
{
    for (size_t n = 0; n < s->count; n++)
        if (str_eqz(name, s->list[n]->name) && str_eqz(jwks_uri, s->list[n]->jwks_uri))
            return s->list[n];
    struct issuer *made = issuer_new(s, name, jwks_uri), **at = made ? place(s) : NULL;
    if (!at) {
        if (made)
            issuer_free(made);
        return NULL;
    }
    *at = made;
    return made;
}

/* Whether it is to be asked now, for a token of that key. */
static bool is_due(const struct issuer *i, const struct jwt *t)
{
    int64_t now = i->set->now_ms(), since_ms = now - i->asked_ms;
    if (i->asked_ms == 0)
        return true;
    if (i->failed && since_ms < FAILED_MS)
        return false;
    if (!i->keys || now >= i->fresh_until_ms)
        return true;
    return !jwks_has(i->keys, t) && since_ms >= UNKNOWN_KEY_MS;
}

/* ---- for who wants keys ---- */

struct refusal {
    struct waiter waiter;
    enum err err;
};

static void tell_refusal(void *ctx)
{
    struct refusal *r = ctx;
    r->waiter.fn(r->waiter.ctx, r->err, NULL);
    free(r);
}

static void refuse_later(struct issuers *s, enum err err, struct waiter w)
{
    struct refusal *r = malloc(sizeof *r);
    PRE(r != NULL); /* a call that never comes back would be worse */
    *r = (struct refusal){w, err};
    loop_defer(s->loop, tell_refusal, r);
}

void issuer_keys(struct issuers *s, struct str issuer, struct str jwks_uri, const struct jwt *t, issuer_fn fn,
                 void *ctx)
{
    struct issuer *i = find(s, issuer, jwks_uri);
    struct waiter w = {fn, ctx};
    if (!i || i->waiting == LIMIT_JWKS_WAITERS) {
        refuse_later(s, ERR_OVERLOADED, w);
        return;
    }
    i->used_ms = i->set->now_ms();
    i->waiters[i->waiting++] = w;
    if (i->asking)
        return;
    if (is_due(i, t)) {
        question(i);
    } else {
        i->held++;
        loop_defer(s->loop, tell_later, i);
    }
}
