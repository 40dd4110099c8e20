#include "runner/input.h"

#include <stdio.h>
#include <stdlib.h>

#include "lua/scripts.h"
#include "runner/attempt_parts.h"

enum { LOOK_MS = 5000, AGAIN_MS = 50 };

static void look(struct attempt *a);

/* What an entry holds goes to the executor. False: it can take no more now. */
static bool give(struct attempt *a, const redisReply *entry)
{
    struct str id = redis_str(redis_at(entry, 0));
    const redisReply *fields = redis_at(entry, 1);
    int64_t n = id.ptr ? strtoll(id.ptr, NULL, 10) : 0;
    struct str line = redis_str(redis_field(fields, "l"));
    bool last = redis_int(redis_field(fields, "e"), 0) != 0;
    if (n <= a->input.given)
        return true;
    if (!a->executor->input(a->job, line.len > 0 ? line : STR_NONE, last))
        return false;
    a->input.given = n;
    if (last)
        a->input.open = false;
    return true;
}

static void on_lines(void *ctx, enum err err, const redisReply *reply)
{
    struct attempt *a = ctx;
    a->input.reading = false;
    if (!a->job || !a->input.open) {
        attempt_over_if_quiet(a);
        return;
    }
    size_t n = !err && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0, i = 0;
    while (i < n && a->input.open && give(a, redis_at(reply, i)))
        i++;
    if (!a->input.open)
        return;
    if (i < n)
        loop_timer_set(&a->input.timer, AGAIN_MS); /* its pipe is full */
    else if (n > 0 || a->input.again)
        look(a);
    else
        loop_timer_set(&a->input.timer, LOOK_MS);
}

static void look(struct attempt *a)
{
    struct input *in = &a->input;
    if (in->reading) {
        in->again = true;
        return;
    }
    in->again = false;
    if (!redis_is_up(a->shard->commands)) {
        loop_timer_set(&in->timer, LOOK_MS); /* its return looks at once */
        return;
    }
    char after[32];
    struct key key = keys_stdin(worker_prefix(a->shard), str_of(a->run_id.s));
    snprintf(after, sizeof after, "%lld", (long long)in->given + 1);
    const struct str argv[] = {STR("XRANGE"), key_str(&key), str_of(after), STR("+"), STR("COUNT"), STR("16")};
    in->reading = true;
    redis_command(a->shard->commands, ARRAY_LEN(argv), argv, on_lines, a);
}

static void on_timer(void *ctx)
{
    struct attempt *a = ctx;
    if (a->job && a->input.open)
        look(a);
}

/* ---- that it waits ---- */

static void say_asked(struct attempt *a);

static void on_said(void *ctx, enum err err, const struct script_input_asked_reply *reply)
{
    struct attempt *a = ctx;
    (void)reply;
    a->input.asking = false;
    if (err && err != ERR_FENCED)
        a->input.unsaid = true; /* said again when Redis is back */
    else if (a->job && a->input.unsaid)
        say_asked(a);
    attempt_over_if_quiet(a);
}

static void say_asked(struct attempt *a)
{
    a->input.unsaid = a->input.asking || !worker_may_write(a->shard);
    if (a->input.unsaid)
        return;
    struct script_input_asked_args args = {.run = str_of(a->run_id.s), .epoch = a->epoch, .given = a->input.asked};
    a->input.asking = true;
    script_call_input_asked(a->shard->commands, worker_prefix(a->shard), &args, on_said, a);
}

void input_asked(struct attempt *a)
{
    if (!a->input.open)
        return;
    a->input.asked = a->input.given;
    say_asked(a);
}

/* ---- from outside ---- */

void input_init(struct attempt *a)
{
    loop_timer_init(&a->input.timer, a->shard->worker->loop, on_timer, a);
}

void input_begin(struct attempt *a)
{
    a->input.open = true;
    look(a);
}

void input_kick(struct attempt *a)
{
    if (!a->job || !a->input.open)
        return;
    look(a);
    if (a->input.unsaid)
        say_asked(a);
}

void input_end(struct attempt *a)
{
    loop_timer_stop(&a->input.timer);
    a->input.open = false;
}

bool input_quiet(const struct attempt *a)
{
    return !a->input.reading && !a->input.asking;
}
