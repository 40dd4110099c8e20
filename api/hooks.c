#include "api/hooks.h"

#include <stdlib.h>

#include "api/hook_parts.h"

/* Something was put into the outbox, here or elsewhere. */
static void on_message(void *ctx, bool confirmed, struct str message)
{
    struct hook_shard *s = ctx;
    (void)message;
    if (confirmed || s->hooks->draining)
        return;
    s->take_again = s->taking; /* the answer that is under way may not know of it */
    loop_timer_set(&s->take, 0);
}

void hooks_room(struct hooks *h)
{
    for (unsigned i = 0; i < h->node->shard_count && !h->draining; i++)
        if (!h->shards[i].taking)
            loop_timer_set(&h->shards[i].take, 0);
}

struct hooks *hooks_new(struct node *n)
{
    struct hooks *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->node = n;
    h->shards = calloc(n->shard_count, sizeof *h->shards);
    if (!h->shards) {
        free(h);
        return NULL;
    }
    for (unsigned i = 0; i < n->shard_count; i++) {
        struct hook_shard *s = &h->shards[i];
        struct key channel = keys_hook_wake(shard_prefix(&n->shards[i]));
        *s = (struct hook_shard){.hooks = h, .shard = &n->shards[i]};
        loop_timer_init(&s->take, n->loop, hook_take_due, s);
        loop_timer_init(&s->follow, n->loop, hook_follow_due, s);
        s->sub = redis_subscribe(s->shard->subscriptions, key_str(&channel), on_message, s);
        loop_timer_set(&s->take, 0);
        loop_timer_set(&s->follow, 0);
    }
    return h;
}

void hooks_drain(struct hooks *h)
{
    if (!h)
        return;
    h->draining = true;
    for (unsigned i = 0; i < h->node->shard_count; i++) {
        loop_timer_stop(&h->shards[i].take);
        loop_timer_stop(&h->shards[i].follow);
    }
}

void hooks_stop(struct hooks *h)
{
    if (!h)
        return;
    hooks_drain(h);
    h->stopped = true;
    for (unsigned i = 0; i < h->node->shard_count; i++)
        redis_unsubscribe(h->shards[i].sub);
}

void hooks_free(struct hooks *h)
{
    if (!h)
        return;
    free(h->shards);
    free(h);
}
