/* The event loop of one thread (libuv): deferred frees, one-shot timers at absolute due times, a clock per turn. Everything here belongs to the thread that runs the loop.
 * A callback never blocks. Nothing is freed inside its own callback: hand it to loop_defer_free. */
#ifndef ERRAND_COMMON_LOOP_H
#define ERRAND_COMMON_LOOP_H

#include <uv.h>

#include "common/err.h"

struct loop;
typedef void (*loop_fn)(void *ctx);

/* A loop of its own. NULL when the system gives none. From the first one on the process ignores SIGPIPE. */
struct loop *loop_new(void);
/* After loop_run returned: closes what is left open of its own and frees. PRE: every timer was stopped, every handle closed. */
void loop_free(struct loop *l);
uv_loop_t *loop_uv(struct loop *l);
/* Runs until loop_stop, or until nothing is left to wait for. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* Monotonic milliseconds, read once a turn. */
int64_t loop_now_ms(struct loop *l);

/* fn(ctx) later in this turn or at the start of the next one, never from inside this call; in the order asked for. */
void loop_defer(struct loop *l, loop_fn fn, void *ctx);
/* Frees p (with free_fn, e.g. free) after the turn in which it died: no callback of this turn can still touch freed memory. */
void loop_defer_free(struct loop *l, void (*free_fn)(void *), void *p);

/* A one-shot timer embedded in its owner. Zero-initialise, then loop_timer_init once. Setting again moves it. Late calls run at once. */
struct loop_timer {
    struct loop *loop;
    loop_fn fn;
    void *ctx;
    int64_t due_ms; /* monotonic; 0 when not set */
    size_t heap_index;
};
void loop_timer_init(struct loop_timer *t, struct loop *l, loop_fn fn, void *ctx);
/* Fires once delay_ms (>= 0) from now. O(log n); thousands are fine (one uv timer drives them all). */
void loop_timer_set(struct loop_timer *t, int64_t delay_ms);
/* Stopping an unset or zeroed timer is fine. After it, fn is not called. */
void loop_timer_stop(struct loop_timer *t);
static inline bool loop_timer_is_set(const struct loop_timer *t)
{
    return t->due_ms != 0;
}

/* Before the loop sleeps, each turn: where a turn's output leaves in one write. The handle stays until loop_flush_remove. */
struct loop_flush {
    loop_fn fn;
    void *ctx;
    struct loop *loop;
    struct loop_flush *next;
    struct loop_flush **link;
};
void loop_flush_add(struct loop *l, struct loop_flush *f, loop_fn fn, void *ctx);
void loop_flush_remove(struct loop_flush *f);

#endif
