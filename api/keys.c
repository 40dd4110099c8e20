#include "api/keys.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "lua/scripts.h"

enum {
    FRESH_MS = 1000,
    WAITERS_MAX = 4096,
    KNOWN_MS = 60000, /* a key that was good is remembered as one for this long: it is always looked up again */
    BUCKETS = 1024,
    ENTRIES_MAX = 16384,
    ID_MAX = 2 + SHA256_HEX_LEN,
    FLUSH_TICKS = 10,
    FLUSH_MAX = 256
};

struct waiter {
    struct waiter *next;
    key_found_fn fn;
    void *ctx;
};

/* A credential: a key by its id, a session by `s:` and its digest. */
struct key_entry {
    struct keys *keys;
    struct key_entry *next;
    char id[ID_MAX + 1];
    bool known; /* who holds what was found; otherwise there is none */
    bool asked; /* an answer is under way */
    bool again; /* it changed meanwhile: that answer may be older */
    struct principal who;
    int64_t fetched_ms; /* monotonic; 0: not good any more */
    int64_t found_ms;   /* monotonic: when it was there last */
    int64_t used_ms;    /* Redis' clock: to be noted; 0: noted */
    struct waiter *waiters;
    int waiting; /* how many */
    bool answering;
    struct key_hold *holds;
};

struct keys {
    struct node *node;
    struct redis_sub *news;
    struct key_entry *buckets[BUCKETS];
    size_t count;
    int64_t version; /* of all keys, when it was read last */
    int ticks;
    int64_t swept_ms;
    uint64_t readings;
    size_t flush_at; /* the bucket where the next flush begins */
    bool asking_version;
};

/* ---- the table ---- */

static size_t bucket_of(const char *id)
{
    uint32_t hash = 2166136261u; /* FNV-1a: ids are random, an attacker gains nothing but misses */
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return hash % BUCKETS;
}

static bool id_of(struct str id, bool session, char ret_id[ID_MAX + 1])
{
    if (id.len == 0 || id.len > SHA256_HEX_LEN)
        return false;
    snprintf(ret_id, ID_MAX + 1, "%s%.*s", session ? "s:" : "", STR_ARG(id));
    return true;
}

static struct key_entry *find(struct keys *k, const char *id)
{
    struct key_entry *e = k->buckets[bucket_of(id)];
    while (e && strcmp(e->id, id) != 0)
        e = e->next;
    return e;
}

static void entry_free(struct key_entry *e)
{
    free(e->who.lists);
    free(e);
}

static bool is_fresh(const struct key_entry *e)
{
    return e->fetched_ms > 0 && clock_mono_ms() - e->fetched_ms < FRESH_MS;
}

static bool was_good(const struct key_entry *e)
{
    return e->known && !e->who.revoked && clock_mono_ms() - e->found_ms < KNOWN_MS;
}

/* Those that nobody needs now. */
static void sweep(struct keys *k)
{
    k->swept_ms = clock_mono_ms();
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct key_entry **at = &k->buckets[i], *e; (e = *at) != NULL;) {
            if (e->asked || e->answering || e->holds || e->used_ms > 0 || is_fresh(e) || was_good(e)) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            k->count--;
            entry_free(e);
        }
    }
}

static struct key_entry *find_or_add(struct keys *k, const char *id)
{
    struct key_entry *e = find(k, id);
    if (e)
        return e;
    if (k->count >= ENTRIES_MAX && clock_mono_ms() - k->swept_ms >= FRESH_MS)
        sweep(k);
    e = k->count < ENTRIES_MAX ? calloc(1, sizeof *e) : NULL;
    if (!e)
        return NULL;
    size_t bucket = bucket_of(id);
    snprintf(e->id, sizeof e->id, "%s", id);
    e->keys = k;
    e->next = k->buckets[bucket];
    k->buckets[bucket] = e;
    k->count++;
    return e;
}

/* ---- records ---- */

static void copy_text(char *to, size_t size, struct str from)
{
    if (from.len < size)
        snprintf(to, size, "%.*s", STR_ARG(from));
}

/* Three numbers, `limit/perMs/burst`; zeros where it is not that. */
static void read_rate(struct principal *p, struct str text)
{
    char copy[64] = "";
    long long limit = 0, per = 0, burst = 0;
    copy_text(copy, sizeof copy, text);
    if (sscanf(copy, "%lld/%lld/%lld", &limit, &per, &burst) == 3) { /* NOLINT(cert-err34-c): our own record */
        p->rate = limit;
        p->rate_per_ms = per;
        p->rate_burst = burst;
    }
}

static struct str keep(char **at, struct str text)
{
    struct str kept = {*at, text.len};
    if (text.len > 0)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return kept;
}

/* False: memory is out. */
static bool read_record(const struct script_key_get_reply *reply, struct principal *ret_who)
{
    const redisReply *r = reply->key;
    struct str agents = redis_str(redis_field(r, "agents")), queues = redis_str(redis_field(r, "queues")),
               cidrs = redis_str(redis_field(r, "cidrs"));
    struct principal p = {.lists = malloc(agents.len + queues.len + cidrs.len + 1)};
    char *at = p.lists;
    if (!at)
        return false;
    p.agents = keep(&at, agents);
    p.queues = keep(&at, queues);
    p.cidrs = keep(&at, cidrs);
    copy_text(p.id, sizeof p.id, reply->id);
    copy_text(p.workspace, sizeof p.workspace, redis_str(redis_field(r, "ws")));
    copy_text(p.hash, sizeof p.hash, redis_str(redis_field(r, "hash")));
    copy_text(p.old_hash, sizeof p.old_hash, redis_str(redis_field(r, "hash2")));
    p.old_until_ms = redis_int(redis_field(r, "until2"), 0);
    p.until_ms = redis_int(redis_field(r, "expires"), 0);
    if (reply->until_ms > 0 && (p.until_ms == 0 || reply->until_ms < p.until_ms))
        p.until_ms = reply->until_ms;
    p.scopes = scopes_of(redis_str(redis_field(r, "scopes")));
    read_rate(&p, redis_str(redis_field(r, "rate")));
    p.concurrency = redis_int(redis_field(r, "conc"), 0);
    p.revoked = redis_field(r, "revoked") != NULL || !p.workspace[0];
    copy_text(p.session_proof, sizeof p.session_proof, reply->proof);
    *ret_who = p;
    return true;
}

/* ---- streams ---- */

void keys_release(struct key_hold *h)
{
    if (!h->entry)
        return;
    *h->link = h->next;
    if (h->next)
        h->next->link = h->link;
    h->entry = NULL;
    h->next = NULL;
    h->link = NULL;
}

static void cut_ended(struct key_entry *e, int64_t now_ms, bool all)
{
    for (struct key_hold *h = e->holds, *next; h; h = next) {
        next = h->next;
        if (all || (h->until_ms > 0 && h->until_ms <= now_ms)) {
            keys_release(h);
            h->cut(h);
        }
    }
}

bool keys_proof_good(const struct principal *p, const char *proof, int64_t now_ms, int64_t *until_ms)
{
    size_t len = strlen(proof);
    if (len != PROOF_LEN)
        return false;
    if (strncmp(p->hash, proof, len) == 0)
        return true;
    if (strncmp(p->old_hash, proof, len) != 0 || p->old_until_ms <= now_ms)
        return false;
    if (*until_ms == 0 || p->old_until_ms < *until_ms)
        *until_ms = p->old_until_ms;
    return true;
}

/* After a change: those whose secret was rotated away end now, or with its overlap. */
static void judge_holds(struct key_entry *e)
{
    int64_t now_ms = node_now_ms(e->keys->node);
    for (struct key_hold *h = e->holds, *next; h; h = next) {
        next = h->next;
        if (keys_proof_good(&e->who, h->proof, now_ms, &h->until_ms))
            continue;
        keys_release(h);
        h->cut(h);
    }
}

/* Whether what was opened under one may go on under the other: nothing was taken away. */
static bool still_may(const struct principal *was, const struct principal *is)
{
    return !is->revoked && str_eqz(str_of(was->workspace), is->workspace) && (was->scopes & ~is->scopes) == 0 &&
           str_eq(was->agents, is->agents) && str_eq(was->queues, is->queues) && str_eq(was->cidrs, is->cidrs);
}

/* ---- asking ---- */

static void ask(struct key_entry *e, struct str source);

static void answer(struct key_entry *e, enum err err, int64_t failures)
{
    struct waiter *w = e->waiters;
    e->waiters = NULL;
    e->waiting = 0;
    e->answering = true; /* nobody sweeps it away meanwhile */
    while (w) {
        struct waiter *next = w->next;
        w->fn(w->ctx, err, !err && e->known ? &e->who : NULL, failures);
        free(w);
        w = next;
    }
    e->answering = false;
}

static void on_record(void *ctx, enum err err, const struct script_key_get_reply *reply)
{
    struct key_entry *e = ctx;
    struct principal who = {.id = ""};
    bool there = !err && reply->id.len > 0;
    e->asked = false;
    if (there && !read_record(reply, &who))
        err = ERR_NO_MEMORY;
    if (err) {
        e->again = false;
        e->fetched_ms = 0;
        answer(e, err, 0); /* streams go on: nobody can say that the key ended */
        return;
    }
    who.reading = ++e->keys->readings;
    bool cut = !there || who.revoked || (e->known && !still_may(&e->who, &who));
    free(e->who.lists);
    e->who = who;
    e->known = there;
    e->fetched_ms = clock_mono_ms();
    e->found_ms = there ? e->fetched_ms : e->found_ms;
    if (cut)
        cut_ended(e, 0, true);
    else if (e->holds)
        judge_holds(e);
    if (e->again) { /* the change came behind the question */
        e->again = false;
        ask(e, STR(""));
        return;
    }
    answer(e, ERR_OK, reply->failures);
}

static void ask(struct key_entry *e, struct str source)
{
    struct node *n = e->keys->node;
    struct key global = keys_global(str_of(n->config->prefix));
    bool session = e->id[0] == 's' && e->id[1] == ':';
    struct script_key_get_args args = {
        .id = session ? STR("") : str_of(e->id), .session = session ? str_of(e->id + 2) : STR(""), .address = source};
    e->asked = true;
    script_call_key_get(n->shards[0].commands, key_str(&global), &args, on_record, e);
}

bool keys_hold(struct keys *k, const struct key_claim *claim, struct key_hold *h)
{
    char name[ID_MAX + 1];
    struct key_entry *e = id_of(claim->id, claim->session, name) ? find_or_add(k, name) : NULL;
    int64_t until_ms = claim->until_ms;
    if (!e || (e->fetched_ms > 0 && !e->known) || (e->known && e->who.revoked) ||
        (e->known && e->fetched_ms > 0 && (claim->scopes & ~e->who.scopes)))
        return false;
    if (e->known && !keys_proof_good(&e->who, claim->proof, node_now_ms(k->node), &until_ms))
        return false;
    h->entry = e;
    h->until_ms = until_ms;
    snprintf(h->proof, sizeof h->proof, "%s", claim->proof);
    h->next = e->holds;
    h->link = &e->holds;
    if (e->holds)
        e->holds->link = &h->next;
    e->holds = h;
    if (e->fetched_ms == 0 && !e->asked) /* it changed since it was judged */
        ask(e, STR(""));
    return true;
}

bool keys_cached(struct keys *k, const struct key_query *q, const struct principal **ret_found)
{
    char id[ID_MAX + 1];
    struct key_entry *e = id_of(q->id, q->session, id) ? find(k, id) : NULL;
    if (!e || !is_fresh(e))
        return false;
    *ret_found = e->known ? &e->who : NULL;
    return true;
}

bool keys_was_good(struct keys *k, const struct key_query *q)
{
    char id[ID_MAX + 1];
    const struct key_entry *e = id_of(q->id, q->session, id) ? find(k, id) : NULL;
    return e && was_good(e);
}

bool keys_ask(struct keys *k, const struct key_query *q, key_found_fn fn, void *ctx)
{
    char id[ID_MAX + 1];
    struct key_entry *e = id_of(q->id, q->session, id) ? find_or_add(k, id) : NULL;
    struct waiter *w = e && e->waiting < WAITERS_MAX ? malloc(sizeof *w) : NULL;
    if (!w)
        return false;
    *w = (struct waiter){e->waiters, fn, ctx};
    e->waiters = w;
    e->waiting++;
    if (!e->asked)
        ask(e, q->source);
    return true;
}

/* ---- changes ---- */

static void changed(struct key_entry *e)
{
    e->fetched_ms = 0;
    if (e->asked)
        e->again = true;
    else if (e->holds)
        ask(e, STR(""));
}

static void all_changed(struct keys *k)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct key_entry *e = k->buckets[i]; e; e = e->next)
            changed(e);
}

/* message: a key's id, or a session's entry. A key's change is one of its sessions', too. */
void keys_changed(struct keys *k, struct str id)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct key_entry *e = k->buckets[i]; e; e = e->next)
            if (str_eqz(id, e->id) || (e->known && str_eqz(id, e->who.id)))
                changed(e);
}

static void on_news(void *ctx, bool confirmed, struct str message)
{
    struct keys *k = ctx;
    if (confirmed)
        all_changed(k); /* messages may have been missed */
    else
        keys_changed(k, message);
}

static void on_version(void *ctx, enum err err, const redisReply *reply)
{
    struct keys *k = ctx;
    k->asking_version = false;
    if (err)
        return;
    int64_t version = redis_int(reply, 0);
    if (version != k->version)
        all_changed(k);
    k->version = version;
}

/* ---- when they were used last ---- */

void keys_used(struct keys *k, struct str id)
{
    char name[ID_MAX + 1];
    struct key_entry *e = id_of(id, false, name) ? find_or_add(k, name) : NULL;
    if (e)
        e->used_ms = node_now_ms(k->node);
}

void keys_flush(struct keys *k)
{
    struct script_key_used_used rows[FLUSH_MAX];
    struct key global = keys_global(str_of(k->node->config->prefix));
    size_t n = 0;
    for (size_t i = 0; i < BUCKETS && n < FLUSH_MAX; i++, k->flush_at = (k->flush_at + 1) % BUCKETS) {
        for (struct key_entry *e = k->buckets[k->flush_at]; e && n < FLUSH_MAX; e = e->next) {
            if (e->used_ms == 0)
                continue;
            rows[n++] = (struct script_key_used_used){str_of(e->id), e->used_ms};
            e->used_ms = 0;
        }
    }
    struct script_key_used_args args = {.used = rows, .used_len = n};
    if (n > 0)
        script_call_key_used(k->node->shards[0].commands, key_str(&global), &args, NULL, NULL);
}

void keys_tick(struct keys *k)
{
    struct redis *r = k->node->shards[0].commands;
    int64_t now_ms = node_now_ms(k->node);
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct key_entry *e = k->buckets[i]; e; e = e->next)
            if (e->holds) {
                cut_ended(e, now_ms, e->known && e->who.until_ms > 0 && e->who.until_ms <= now_ms);
                if (e->holds && e->fetched_ms == 0 && !e->asked) /* the answer after a change was lost */
                    ask(e, STR(""));
            }
    if (redis_is_up(r) && !k->asking_version) {
        struct key global = keys_global(str_of(k->node->config->prefix)), key = keys_version(key_str(&global));
        k->asking_version = true;
        redis_command(r, 2, (const struct str[]){STR("GET"), key_str(&key)}, on_version, k);
    }
    if (++k->ticks % FLUSH_TICKS == 0) {
        if (redis_is_up(r))
            keys_flush(k);
        sweep(k);
    }
}

struct keys *keys_new(struct node *n)
{
    struct keys *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->node = n;
    struct key global = keys_global(str_of(n->config->prefix)), channel = keys_news(key_str(&global));
    k->news = redis_subscribe(n->shards[0].subscriptions, key_str(&channel), on_news, k);
    if (!k->news) {
        free(k);
        return NULL;
    }
    return k;
}

void keys_free(struct keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (k->buckets[i]) {
            struct key_entry *e = k->buckets[i];
            k->buckets[i] = e->next;
            PRE(!e->waiters);
            while (e->holds)
                keys_release(e->holds);
            entry_free(e);
        }
    }
    free(k);
}
