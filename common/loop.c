#include "common/loop.h"

#include <signal.h>
#include <stdlib.h>

#include "common/clock.h"

struct deferred {
    struct deferred *next;
    loop_fn fn;
    void *ctx;
};

struct dead {
    struct dead *next;
    void (*free_fn)(void *);
    void *p;
};

struct loop {
    uv_loop_t uv;
    uv_timer_t timer;     /* set to the earliest due time of the heap */
    uv_prepare_t prepare; /* the end of a turn: flushes, then frees */
    uv_check_t check;     /* after polling: deferred calls of the turn before */
    uv_idle_t idle;       /* active while something is deferred, so that the loop does not sleep */
    int64_t now_ms;
    bool firing; /* inside on_timer */
    struct loop_timer **heap;
    size_t heap_len, heap_cap;
    struct deferred *deferred, **deferred_tail;
    struct dead *dead;
    struct loop_flush *flushes;
    struct loop_flush *flush_cursor; /* the next one to call, while they are called */
};

static void on_idle(uv_idle_t *h)
{
    (void)h; /* its being active is the point: polling does not block */
}

static void keep_awake(struct loop *l)
{
    if (l->deferred || l->dead)
        uv_idle_start(&l->idle, on_idle);
    else
        uv_idle_stop(&l->idle);
}

/* ---- timers: a binary heap by due time, driven by one uv timer ---- */

static void heap_put(struct loop *l, size_t i, struct loop_timer *t)
{
    l->heap[i] = t;
    t->heap_index = i;
}

static void heap_up(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    for (; i > 0 && l->heap[(i - 1) / 2]->due_ms > t->due_ms; i = (i - 1) / 2)
        heap_put(l, i, l->heap[(i - 1) / 2]);
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    for (size_t child; (child = 2 * i + 1) < l->heap_len; i = child) {
        if (child + 1 < l->heap_len && l->heap[child + 1]->due_ms < l->heap[child]->due_ms)
            child++;
        if (l->heap[child]->due_ms >= t->due_ms)
            break;
        heap_put(l, i, l->heap[child]);
    }
    heap_put(l, i, t);
}

static void on_timer(uv_timer_t *h);

/* libuv's timers drift when they repeat, so it is a one-shot one, set anew to the absolute time each time. */
static void timer_arm(struct loop *l)
{
    if (l->heap_len == 0) {
        uv_timer_stop(&l->timer);
        return;
    }
    int64_t delay = l->heap[0]->due_ms - clock_mono_ms();
    uv_update_time(&l->uv);
    uv_timer_start(&l->timer, on_timer, delay > 0 ? (uint64_t)delay : 0, 0);
}

static void heap_remove(struct loop *l, struct loop_timer *t)
{
    size_t i = t->heap_index;
    PRE(i < l->heap_len && l->heap[i] == t);
    struct loop_timer *last = l->heap[--l->heap_len];
    if (last != t) {
        heap_put(l, i, last);
        heap_down(l, i);
        heap_up(l, last->heap_index);
    }
    t->due_ms = 0;
}

static void on_timer(uv_timer_t *h)
{
    struct loop *l = h->data;
    l->now_ms = clock_mono_ms();
    l->firing = true;
    while (l->heap_len > 0 && l->heap[0]->due_ms <= l->now_ms) {
        struct loop_timer *t = l->heap[0];
        heap_remove(l, t);
        t->fn(t->ctx); /* may set itself again, stop others, or end its owner */
    }
    l->firing = false;
    timer_arm(l);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, loop_fn fn, void *ctx)
{
    *t = (struct loop_timer){.loop = l, .fn = fn, .ctx = ctx};
}

void loop_timer_set(struct loop_timer *t, int64_t delay_ms)
{
    struct loop *l = t->loop;
    loop_timer_stop(t);
    if (l->heap_len == l->heap_cap) {
        size_t cap = l->heap_cap ? 2 * l->heap_cap : 64;
        struct loop_timer **heap = realloc(l->heap, cap * sizeof *heap);
        PRE(heap); /* a few bytes: without timers nothing of a node holds */
        l->heap = heap;
        l->heap_cap = cap;
    }
    t->due_ms = clock_mono_ms() + (delay_ms > 0 ? delay_ms : 0);
    if (l->firing && t->due_ms <= l->now_ms)
        t->due_ms = l->now_ms + 1; /* a timer that sets itself to "at once" must not keep this round going for ever */
    if (t->due_ms == 0)
        t->due_ms = 1; /* 0 means "not set" */
    heap_put(l, l->heap_len++, t);
    heap_up(l, t->heap_index);
    if (l->heap[0] == t && !l->firing)
        timer_arm(l);
}

void loop_timer_stop(struct loop_timer *t)
{
    if (t->due_ms == 0)
        return;
    bool first = t->heap_index == 0;
    heap_remove(t->loop, t);
    if (first && !t->loop->firing)
        timer_arm(t->loop);
}

/* ---- the turn ---- */

static void run_deferred(struct loop *l)
{
    struct deferred *list = l->deferred;
    l->deferred = NULL;
    l->deferred_tail = &l->deferred;
    while (list) {
        struct deferred *d = list;
        list = d->next;
        d->fn(d->ctx);
        free(d);
    }
}

static void free_dead(struct loop *l)
{
    struct dead *list = l->dead;
    l->dead = NULL;
    while (list) {
        struct dead *d = list;
        list = d->next;
        d->free_fn(d->p);
        free(d);
    }
}

/* Before the loop sleeps. Deferred calls come first, so that what they write leaves in the same turn. */
static void on_prepare(uv_prepare_t *h)
{
    struct loop *l = h->data;
    run_deferred(l);
    for (struct loop_flush *f = l->flushes; f; f = l->flush_cursor) {
        l->flush_cursor = f->next;
        f->fn(f->ctx);
    }
    l->flush_cursor = NULL;
    free_dead(l);
    keep_awake(l);
}

static void on_check(uv_check_t *h)
{
    ((struct loop *)h->data)->now_ms = clock_mono_ms();
}

static void defer_add(struct loop *l, loop_fn fn, void *ctx)
{
    struct deferred *d = malloc(sizeof *d);
    PRE(d); /* a few bytes; a call that never comes would be worse than the end */
    *d = (struct deferred){.fn = fn, .ctx = ctx};
    *l->deferred_tail = d;
    l->deferred_tail = &d->next;
    keep_awake(l);
}

void loop_defer(struct loop *l, loop_fn fn, void *ctx)
{
    defer_add(l, fn, ctx);
}

void loop_defer_free(struct loop *l, void (*free_fn)(void *), void *p)
{
    if (!p)
        return;
    struct dead *d = malloc(sizeof *d);
    PRE(d);
    *d = (struct dead){.next = l->dead, .free_fn = free_fn, .p = p};
    l->dead = d;
    keep_awake(l);
}

void loop_flush_add(struct loop *l, struct loop_flush *f, loop_fn fn, void *ctx)
{
    *f = (struct loop_flush){.fn = fn, .ctx = ctx, .next = l->flushes, .link = &l->flushes};
    if (l->flushes)
        l->flushes->link = &f->next;
    l->flushes = f;
    f->loop = l;
}

void loop_flush_remove(struct loop_flush *f)
{
    if (!f->link)
        return;
    if (f->loop->flush_cursor == f)
        f->loop->flush_cursor = f->next;
    *f->link = f->next;
    if (f->next)
        f->next->link = f->link;
    f->link = NULL;
}

struct loop *loop_new(void)
{
    signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error of the write, not the end of the process */
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->deferred_tail = &l->deferred;
    if (uv_loop_init(&l->uv) != 0) {
        free(l);
        return NULL;
    }
    uv_timer_init(&l->uv, &l->timer);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_check_init(&l->uv, &l->check);
    uv_idle_init(&l->uv, &l->idle);
    l->timer.data = l->prepare.data = l->check.data = l->idle.data = l;
    uv_prepare_start(&l->prepare, on_prepare);
    uv_check_start(&l->check, on_check);
    uv_unref((uv_handle_t *)&l->prepare); /* the hooks alone keep no loop alive */
    uv_unref((uv_handle_t *)&l->check);
    l->now_ms = clock_mono_ms();
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    while (l->deferred || l->dead) {
        run_deferred(l);
        free_dead(l);
    }
    PRE(l->heap_len == 0);
    uv_close((uv_handle_t *)&l->timer, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    int status;
    do { /* a loop_stop that came too late ends the first run at once */
        uv_run(&l->uv, UV_RUN_DEFAULT);
        status = uv_loop_close(&l->uv);
    } while (status == UV_EBUSY && uv_loop_alive(&l->uv));
    PRE(status == 0);
    while (l->deferred || l->dead) {
        run_deferred(l);
        free_dead(l);
    }
    free(l->heap);
    free(l);
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

void loop_run(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
    uv_stop(&l->uv);
}

int64_t loop_now_ms(struct loop *l)
{
    return l->now_ms;
}
