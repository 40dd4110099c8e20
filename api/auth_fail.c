#include "api/auth_fail.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/metrics.h"
#include "lua/scripts.h"

enum { WINDOW_MS = 60000, ROWS = 1024, WAYS = 4, ASKS_PER_S = 10 };

struct row {
    struct ip source;
    int64_t until_ms; /* monotonic; 0: the row is free */
    int64_t second;   /* of the look-ups counted below */
    int asks;
};

/* A table of those over the limit; where a set is full the one that ends first gives way. */
struct auth_fail {
    struct node *node;
    struct row rows[ROWS][WAYS];
};

struct counting {
    struct auth_fail *f;
    struct ip source;
};

static struct row *set_of(struct auth_fail *f, const struct ip *source)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof source->b; i++)
        hash = (hash ^ source->b[i]) * 16777619u;
    return f->rows[hash % ROWS];
}

static struct row *find(struct auth_fail *f, const struct ip *source)
{
    struct ip of = ip_source(source);
    struct row *set = set_of(f, &of);
    for (int i = 0; i < WAYS; i++)
        if (set[i].until_ms > clock_mono_ms() && memcmp(&set[i].source, &of, sizeof of) == 0)
            return &set[i];
    return NULL;
}

struct auth_fail *auth_fail_new(struct node *n)
{
    struct auth_fail *f = calloc(1, sizeof *f);
    if (f)
        f->node = n;
    return f;
}

void auth_fail_free(struct auth_fail *f)
{
    free(f);
}

void auth_fail_learn(struct auth_fail *f, const struct ip *source, int64_t failures, int64_t left_ms)
{
    int64_t max = f->node->config->auth_failures_max;
    if (max == 0 || failures <= max || find(f, source))
        return;
    struct ip of = ip_source(source);
    struct row *set = set_of(f, &of), *take = &set[0];
    for (int i = 1; i < WAYS; i++)
        if (set[i].until_ms < take->until_ms)
            take = &set[i];
    *take = (struct row){.source = of, .until_ms = clock_mono_ms() + (left_ms > 0 ? left_ms : WINDOW_MS)};
}

static void on_counted(void *ctx, enum err err, const struct script_auth_fail_reply *reply)
{
    struct counting *c = ctx;
    if (!err)
        auth_fail_learn(c->f, &c->source, reply->count, reply->left_ms);
    free(c);
}

void auth_fail_count(struct auth_fail *f, const struct ip *source)
{
    char text[64];
    struct ip of = ip_source(source);
    struct counting *c = malloc(sizeof *c);
    metric_add(METRIC_AUTH_FAILED, 1);
    if (!c || find(f, source)) { /* that it is over the limit is known already */
        free(c);
        return;
    }
    *c = (struct counting){f, *source};
    ip_text(&of, text, sizeof text);
    struct key global = keys_global(str_of(f->node->config->prefix));
    struct script_auth_fail_args args = {.address = str_of(text), .window_ms = WINDOW_MS};
    script_call_auth_fail(f->node->shards[0].commands, key_str(&global), &args, on_counted, c);
}

int auth_fail_blocked_s(struct auth_fail *f, const struct ip *source)
{
    const struct row *row = find(f, source);
    return row ? (int)((row->until_ms - clock_mono_ms()) / 1000) + 1 : 0;
}

bool auth_fail_may_ask(struct auth_fail *f, const struct ip *source)
{
    struct row *row = find(f, source);
    int64_t second = clock_mono_ms() / 1000;
    if (!row)
        return true;
    if (row->second != second) {
        row->second = second;
        row->asks = 0;
    }
    return row->asks++ < ASKS_PER_S;
}
