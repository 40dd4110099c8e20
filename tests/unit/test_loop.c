#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/loop.h"

static char trace[4096];
static size_t trace_len;

static void mark(const char *what)
{
    trace_len += (size_t)snprintf(trace + trace_len, sizeof trace - trace_len, "%s ", what);
}

static int start(void **state)
{
    trace[0] = 0;
    trace_len = 0;
    *state = loop_new();
    return *state ? 0 : -1;
}

static int end(void **state)
{
    clock_set_source(NULL, NULL);
    loop_free(*state);
    return 0;
}

static void mark_ctx(void *ctx)
{
    mark(ctx);
}

/* ---- timers ---- */

static void test_timers_fire_in_order_of_their_due_time(void **state)
{
    struct loop *l = *state;
    struct loop_timer t[4];
    static const int64_t delays[] = {12, 3, 25, 0};
    char *names[] = {"c", "b", "d", "a"};
    int64_t began = clock_mono_ms();
    for (size_t i = 0; i < 4; i++) {
        loop_timer_init(&t[i], l, mark_ctx, names[i]);
        loop_timer_set(&t[i], delays[i]);
        assert_true(loop_timer_is_set(&t[i]));
    }
    assert_string_equal(trace, ""); /* never from inside, not even for 0 */
    loop_run(l);                    /* ends by itself: nothing is left */
    assert_string_equal(trace, "a b c d ");
    assert_true(clock_mono_ms() - began >= 25);
    for (size_t i = 0; i < 4; i++)
        assert_false(loop_timer_is_set(&t[i]));
}

static void test_setting_again_moves_a_timer(void **state)
{
    struct loop *l = *state;
    struct loop_timer a, b;
    loop_timer_init(&a, l, mark_ctx, "a");
    loop_timer_init(&b, l, mark_ctx, "b");
    loop_timer_set(&a, 1);
    loop_timer_set(&b, 8);
    loop_timer_set(&a, 15);
    loop_run(l);
    assert_string_equal(trace, "b a ");
}

static void test_a_stopped_timer_is_silent_and_keeps_nothing_alive(void **state)
{
    struct loop *l = *state;
    struct loop_timer a, zeroed = {0};
    loop_timer_init(&a, l, mark_ctx, "a");
    loop_timer_stop(&a);
    loop_timer_stop(&zeroed);
    loop_timer_set(&a, 3600000);
    loop_timer_stop(&a);
    loop_run(l); /* would last an hour */
    assert_string_equal(trace, "");
}

struct pair {
    struct loop_timer a, b;
};

static void on_first_of_pair(void *ctx)
{
    struct pair *p = ctx;
    mark("first");
    loop_timer_stop(&p->a);
    loop_timer_stop(&p->b);
}

static void test_a_timer_may_stop_one_that_is_due_too(void **state)
{
    struct pair p;
    loop_timer_init(&p.a, *state, on_first_of_pair, &p);
    loop_timer_init(&p.b, *state, on_first_of_pair, &p);
    loop_timer_set(&p.a, 0);
    loop_timer_set(&p.b, 0);
    loop_run(*state);
    assert_string_equal(trace, "first ");
}

struct again {
    struct loop_timer timer;
    int left;
    bool deferred_ran;
};

static void on_again(void *ctx)
{
    struct again *a = ctx;
    if (a->deferred_ran || --a->left == 0)
        return;
    loop_timer_set(&a->timer, 0);
}

static void on_again_deferred(void *ctx)
{
    ((struct again *)ctx)->deferred_ran = true;
}

static int64_t stands_still(void)
{
    return 1000000;
}

/* With a clock that stands still, "at once" would be due again for ever if it belonged to the same round. */
static void test_a_timer_that_sets_itself_to_zero_lets_others_run(void **state)
{
    struct again a = {.left = 100000};
    clock_set_source(stands_still, stands_still);
    loop_timer_init(&a.timer, *state, on_again, &a);
    loop_timer_set(&a.timer, 0);
    loop_defer(*state, on_again_deferred, &a);
    for (int turn = 0; turn < 3; turn++)
        uv_run(loop_uv(*state), UV_RUN_NOWAIT);
    assert_true(a.deferred_ran);
    assert_true(a.left > 99990);
    loop_timer_stop(&a.timer);
}

static int64_t last_due;
static int fired;
struct checked {
    struct loop_timer timer;
    int64_t due;
};

static void on_checked(void *ctx)
{
    struct checked *c = ctx;
    assert_true(c->due >= last_due);
    assert_true(clock_mono_ms() >= c->due); /* never early */
    last_due = c->due;
    fired++;
}

static void test_thousands_of_timers_set_moved_and_stopped(void **state)
{
    enum { N = 5000 };
    struct checked *c = calloc(N, sizeof *c);
    unsigned seed = 7;
    int wanted = N;
    last_due = 0;
    fired = 0;
    for (int i = 0; i < N; i++) {
        loop_timer_init(&c[i].timer, *state, on_checked, &c[i]);
        loop_timer_set(&c[i].timer, rand_r(&seed) % 200);
    }
    for (int i = 0; i < N; i += 2)
        loop_timer_set(&c[i].timer, rand_r(&seed) % 200);
    for (int i = 0; i < N; i += 3, wanted--)
        loop_timer_stop(&c[i].timer);
    for (int i = 0; i < N; i++)
        c[i].due = c[i].timer.due_ms;
    loop_run(*state);
    assert_int_equal(fired, wanted);
    free(c);
}

/* ---- deferred calls ---- */

struct nested {
    struct loop *loop;
    char *name;
};

static void on_nested(void *ctx)
{
    struct nested *n = ctx;
    mark(n->name);
    loop_defer(n->loop, mark_ctx, "inner");
    mark("returned");
}

static void test_deferred_calls_come_in_order_and_never_inside(void **state)
{
    struct nested n = {*state, "outer"};
    loop_defer(*state, mark_ctx, "1");
    loop_defer(*state, on_nested, &n);
    loop_defer(*state, mark_ctx, "3");
    assert_string_equal(trace, "");
    loop_run(*state);
    assert_string_equal(trace, "1 outer returned 3 inner ");
}

static void mark_freed(void *p)
{
    mark("freed");
    free(p);
}

struct dying {
    struct loop *loop;
    int value;
};

static void on_dying(void *ctx)
{
    struct dying *d = ctx;
    loop_defer(d->loop, mark_ctx, "next");
    loop_defer_free(d->loop, mark_freed, d);
    d->value = 1; /* still ours */
    mark("died");
}

static void test_freeing_waits_for_the_end_of_the_turn(void **state)
{
    struct dying *d = calloc(1, sizeof *d);
    struct loop_timer t;
    d->loop = *state;
    loop_timer_init(&t, *state, on_dying, d);
    loop_timer_set(&t, 0);
    loop_defer_free(*state, free, NULL);
    loop_run(*state);
    assert_string_equal(trace, "died next freed ");
}

static void test_what_is_deferred_is_not_lost_when_the_loop_is_freed(void **state)
{
    struct loop *l = loop_new();
    (void)state;
    loop_defer(l, mark_ctx, "ran");
    loop_defer_free(l, mark_freed, malloc(1));
    loop_free(l);
    assert_string_equal(trace, "ran freed ");
}

/* ---- flushes ---- */

struct flusher {
    struct loop_flush flush;
    struct flusher *victim;
    int calls;
};

static void on_flush(void *ctx)
{
    struct flusher *f = ctx;
    f->calls++;
    mark("flush");
    if (f->victim)
        loop_flush_remove(&f->victim->flush);
}

static void test_a_flush_comes_after_the_deferred_calls_of_its_turn(void **state)
{
    struct flusher f = {0};
    loop_flush_add(*state, &f.flush, on_flush, &f);
    loop_defer(*state, mark_ctx, "1");
    loop_defer(*state, mark_ctx, "2");
    uv_run(loop_uv(*state), UV_RUN_NOWAIT);
    assert_string_equal(trace, "1 2 flush ");
    loop_flush_remove(&f.flush);
    loop_flush_remove(&f.flush); /* twice is fine */
    uv_run(loop_uv(*state), UV_RUN_NOWAIT);
    assert_int_equal(f.calls, 1);
}

static void test_a_flush_may_remove_itself_or_the_next(void **state)
{
    struct flusher a = {0}, b = {0}, c = {0};
    struct flusher *all[] = {&a, &b, &c};
    for (size_t i = 0; i < 3; i++)
        loop_flush_add(*state, &all[i]->flush, on_flush, all[i]);
    /* Called newest first: c removes b before its turn, a removes itself. */
    c.victim = &b;
    a.victim = &a;
    loop_defer(*state, mark_ctx, "-");
    uv_run(loop_uv(*state), UV_RUN_NOWAIT);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_int_equal(c.calls, 1);
    loop_flush_remove(&c.flush);
}

/* ---- the loop itself ---- */

static void test_hooks_alone_keep_no_loop_running(void **state)
{
    struct flusher f = {0};
    loop_flush_add(*state, &f.flush, on_flush, &f);
    loop_run(*state);
    loop_flush_remove(&f.flush);
}

struct stopper {
    struct loop *loop;
    struct loop_flush flush;
};

static void on_stop(void *ctx)
{
    mark("stop");
    loop_stop(((struct stopper *)ctx)->loop);
}

static void test_the_loop_stops_from_every_kind_of_callback(void **state)
{
    struct loop_timer hour, now;
    struct stopper s = {.loop = *state};
    loop_timer_init(&hour, *state, mark_ctx, "never");
    loop_timer_set(&hour, 3600000);
    loop_timer_init(&now, *state, on_stop, &s);
    loop_timer_set(&now, 1);
    loop_run(*state);
    loop_defer(*state, on_stop, &s);
    loop_run(*state);
    loop_flush_add(*state, &s.flush, on_stop, &s);
    loop_defer(*state, mark_ctx, "turn");
    loop_run(*state);
    loop_flush_remove(&s.flush);
    assert_string_equal(trace, "stop stop turn stop ");
    loop_timer_stop(&hour);
}

static void test_a_stop_that_comes_too_late_is_harmless(void **state)
{
    struct loop *l = loop_new();
    (void)state;
    loop_run(l);
    loop_stop(l);
    loop_free(l);
}

static void note_now(void *ctx)
{
    int64_t *ret = ((void **)ctx)[1];
    *ret = loop_now_ms(((void **)ctx)[0]);
}

static void test_the_turns_clock_goes_on(void **state)
{
    int64_t first = 0, second = 0;
    void *a[] = {*state, &first}, *b[] = {*state, &second};
    struct loop_timer t1, t2;
    loop_timer_init(&t1, *state, note_now, a);
    loop_timer_init(&t2, *state, note_now, b);
    loop_timer_set(&t1, 1);
    loop_timer_set(&t2, 12);
    loop_run(*state);
    assert_true(second - first >= 10);
}

static void test_a_broken_pipe_is_an_error_only(void **state)
{
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    assert_int_equal(write(fds[1], "x", 1), -1);
    close(fds[1]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_timers_fire_in_order_of_their_due_time),
        T(test_setting_again_moves_a_timer),
        T(test_a_stopped_timer_is_silent_and_keeps_nothing_alive),
        T(test_a_timer_may_stop_one_that_is_due_too),
        T(test_a_timer_that_sets_itself_to_zero_lets_others_run),
        T(test_thousands_of_timers_set_moved_and_stopped),
        T(test_deferred_calls_come_in_order_and_never_inside),
        T(test_freeing_waits_for_the_end_of_the_turn),
        T(test_what_is_deferred_is_not_lost_when_the_loop_is_freed),
        T(test_a_flush_comes_after_the_deferred_calls_of_its_turn),
        T(test_a_flush_may_remove_itself_or_the_next),
        T(test_hooks_alone_keep_no_loop_running),
        T(test_the_loop_stops_from_every_kind_of_callback),
        T(test_a_stop_that_comes_too_late_is_harmless),
        T(test_the_turns_clock_goes_on),
        T(test_a_broken_pipe_is_an_error_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
