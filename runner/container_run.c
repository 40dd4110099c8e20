#include "runner/container_job_parts.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/json.h"

enum {
    WAIT_MS = 86400000,
    KILL_AGAIN_MS = 2000,
    REOPEN_MS = 1000,
    LAST_OUTPUT_MS = 5000 /* for the rest of the output, once the engine says that it ended */
};

/* ---- started ---- */

static void write_handle(const struct job *job, struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "containerId", str_of(job->id));
    json_kv_str(&w, "name", str_of(job->name));
    json_kv_str(&w, "image", str_of(job->image));
    json_kv_str(&w, "imageId", str_of(job->image_id));
    json_object_end(&w);
}

static void on_waited(void *ctx, enum err err, const struct http_answer *a);

static void ask_wait(struct job *job)
{
    container_send(job, "POST", on_waited, STR_NONE, WAIT_MS, "/containers/%s/wait", job->id);
}

static void send_kill(struct job *job);

static void run(struct job *job)
{
    struct strbuf handle;
    container_go(job, CONTAINER_RUNNING);
    job->how.started = true;
    strbuf_init(&handle, 4096);
    write_handle(job, &handle);
    if (!job->adopted)
        job->events->started(job->ctx, strbuf_str(&handle));
    strbuf_done(&handle);
    if (job->phase != CONTAINER_RUNNING)
        return;
    if (job->stream)
        container_stream_read(job->stream, job->reading);
    ask_wait(job);
    if (container_is_stopping(job))
        send_kill(job);
}

static void on_looked(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    struct container_state s;
    if (!container_answered(job, CONTAINER_LOOK))
        return;
    struct container_owner owner = container_owner_of(job->self, str_of(job->run_id), job->attempt);
    if (!err && a->status == 200 && container_read_state(a->body, &owner, &s) && s.running)
        job->oom = container_oom_watch(job->self->x->loop, s.pid);
    run(job);
}

static void go_look(struct job *job)
{
    container_go(job, CONTAINER_LOOK);
    if (job->limits.memory_bytes > 0 && container_oom_possible())
        container_ask_inspect(job, on_looked);
    else
        run(job);
}

static void on_start(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    if (!container_answered(job, CONTAINER_START))
        return;
    if (!err && (a->status == 204 || a->status == 304)) {
        go_look(job);
        return;
    }
    if (err)
        snprintf(job->why, sizeof job->why, "the engine did not answer: %s", a->error ? a->error : "");
    else
        container_read_error(a->body, a->status, job->why, sizeof job->why);
    container_fail(job, true);
}

/* ---- its output and input ---- */

static void end_if_over(struct job *job);

static void on_stream_open(void *ctx)
{
    struct job *job = ctx;
    if (job->phase != CONTAINER_ATTACH)
        return;
    if (container_is_stopping(job)) {
        container_fail(job, true);
        return;
    }
    container_go(job, CONTAINER_START);
    container_send(job, "POST", on_start, STR_NONE, 60000, "/containers/%s/start", job->id);
}

static void on_stream_bytes(void *ctx, enum job_stream stream, struct str bytes)
{
    struct job *job = ctx;
    int64_t had = job->skip[stream] < (int64_t)bytes.len ? job->skip[stream] : (int64_t)bytes.len;
    job->skip[stream] -= had;
    bytes.ptr += had;
    bytes.len -= (size_t)had;
    if (bytes.len == 0)
        return;
    job->seen[stream] += (int64_t)bytes.len;
    job->events->output(job->ctx, stream, bytes);
}

static void on_stream_end(void *ctx, const char *why)
{
    struct job *job = ctx;
    job->stream = NULL;
    if (job->phase == CONTAINER_ATTACH) {
        snprintf(job->why, sizeof job->why, "%s", why ? why : "the engine closed the connection to the container");
        container_fail(job, true);
        return;
    }
    job->streamed = true;
    if (job->phase == CONTAINER_RUNNING && !job->waited)
        loop_timer_set(&job->reopen, REOPEN_MS); /* it closed its output, or the engine went away: the log goes on */
    else
        end_if_over(job);
}

static const struct container_stream_fns stream_fns = {on_stream_open, on_stream_bytes, on_stream_end};

void container_attach(struct job *job)
{
    container_go(job, CONTAINER_ATTACH);
    job->stream =
        container_stream_attach(job->self->x->loop, job->self->socket, job->self->version, job->id, &stream_fns, job);
    if (!job->stream || !container_stream_write(job->stream, strbuf_str(&job->input), !job->stdin_open)) {
        snprintf(job->why, sizeof job->why, "out of memory");
        container_fail(job, true);
        return;
    }
    strbuf_done(&job->input);
    container_stream_read(job->stream, false); /* nothing may come before it has been said that it started */
}

/* Of one that runs already, or ran: from where it was last heard on. The log has all of it, so what came is counted and passed over; one that is longer than the engine keeps is only followed from now on. */
static void follow_log(struct job *job, bool follow)
{
    bool whole = job->seen[0] >= 0 && job->seen[0] + job->seen[1] <= CONTAINER_LOG_WHOLE;
    job->streamed = false;
    for (int i = 0; i < 2; i++)
        job->skip[i] = whole ? job->seen[i] : 0;
    job->seen[0] = job->seen[0] < 0 ? 0 : job->seen[0];
    job->stream = container_stream_log(job->self->x->loop, job->self->socket, job->self->version, job->id,
                                       whole ? 0 : clock_wall_ms() * 1000000, follow, &stream_fns, job);
    if (job->stream)
        container_stream_read(job->stream, job->reading);
    else
        job->streamed = true;
}

void container_on_reopen(void *ctx)
{
    struct job *job = ctx;
    if (job->phase != CONTAINER_RUNNING)
        return;
    if (!job->waited) {
        follow_log(job, true);
        if (!job->stream)
            loop_timer_set(&job->reopen, REOPEN_MS);
    } else if (job->stream && !job->reading) {
        loop_timer_set(&job->reopen, LAST_OUTPUT_MS); /* it is us who do not read */
    } else {
        container_stream_close(job->stream);
        job->stream = NULL;
        job->streamed = true;
        end_if_over(job);
    }
}

void container_watch(struct job *job, const struct container_state *s)
{
    if (job->limits.memory_bytes > 0 && s->running && container_oom_possible())
        job->oom = container_oom_watch(job->self->x->loop, s->pid);
    follow_log(job, s->running);
    container_go(job, CONTAINER_LOOK);
    run(job);
}

/* ---- its end ---- */

static void on_last(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    struct container_state s;
    if (!container_answered(job, CONTAINER_LAST))
        return;
    struct container_owner owner = container_owner_of(job->self, str_of(job->run_id), job->attempt);
    if (!err && a->status == 200 && container_read_state(a->body, &owner, &s) && !s.running) {
        container_exit(s.exit_code, &job->how);
        bool killed_by_us = job->killing && job->how.signaled;
        if (s.exit_code != 0 && !killed_by_us && (s.oom || container_oom_seen(job->oom))) {
            job->how.class = "oom_killed";
            snprintf(job->why, sizeof job->why, "killed: it needed more than its %lld MiB of memory",
                     (long long)(job->limits.memory_bytes >> 20));
        }
        container_remove(job);
    } else if (!err && a->status == 404) {
        job->how.class = "signal";
        snprintf(job->why, sizeof job->why, "the container was removed by somebody else");
        container_gone(job);
    } else {
        container_try_again(job);
    }
}

static void end_if_over(struct job *job)
{
    if (job->phase != CONTAINER_RUNNING || !job->waited || !job->streamed)
        return;
    loop_timer_stop(&job->reopen);
    loop_timer_stop(&job->kill);
    container_go(job, CONTAINER_LAST);
    container_ask_inspect(job, on_last);
}

/* The engine was away, or forgot us: does it still run? */
static void on_checked(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    struct container_state s;
    if (!container_answered(job, CONTAINER_RUNNING))
        return;
    struct container_owner owner = container_owner_of(job->self, str_of(job->run_id), job->attempt);
    bool known = !err && a->status == 200 && container_read_state(a->body, &owner, &s);
    if (known && s.running) {
        ask_wait(job);
    } else if (known || (!err && a->status == 404)) {
        job->waited = true;
        loop_timer_set(&job->reopen, job->stream ? LAST_OUTPUT_MS : 0);
    } else {
        container_try_again(job);
    }
}

static void on_waited(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    if (!container_answered(job, CONTAINER_RUNNING))
        return;
    if (err || a->status != 200) {
        container_try_again(job);
        return;
    }
    job->waited = true;
    if (job->streamed)
        end_if_over(job);
    else
        loop_timer_set(&job->reopen, LAST_OUTPUT_MS);
}

void container_on_again(void *ctx)
{
    struct job *job = ctx;
    switch (job->phase) {
    case CONTAINER_IMAGE:
        container_ask_image(job);
        break;
    case CONTAINER_CREATE:
        container_ask_create(job);
        break;
    case CONTAINER_INSPECT:
        container_ask_inspect(job, container_on_inspected);
        break;
    case CONTAINER_RUNNING:
        container_ask_inspect(job, on_checked);
        break;
    case CONTAINER_LAST:
        container_ask_inspect(job, on_last);
        break;
    case CONTAINER_REMOVE:
        container_ask_remove(job);
        break;
    case CONTAINER_PULL:
    case CONTAINER_ATTACH:
    case CONTAINER_START:
    case CONTAINER_LOOK:
    case CONTAINER_GONE:
    case CONTAINER_PHASE_COUNT:
        break;
    }
}

/* ---- orders ---- */

static void on_killed(void *ctx, enum err err, const struct http_answer *a)
{
    (void)err; /* that it is gone is told by wait; the timer asks again */
    (void)a;
    (void)container_answered(ctx, CONTAINER_RUNNING);
}

static void send_kill(struct job *job)
{
    job->killing = job->killing || job->stop_grace_ms == 0;
    container_send(job, "POST", on_killed, STR_NONE, 0, "/containers/%s/kill?signal=%s", job->id,
                   job->killing ? "SIGKILL" : "SIGTERM");
    loop_timer_set(&job->kill, job->killing ? KILL_AGAIN_MS : job->stop_grace_ms);
}

void container_on_kill_due(void *ctx)
{
    struct job *job = ctx;
    if (job->phase != CONTAINER_RUNNING || job->waited)
        return;
    job->killing = true;
    send_kill(job);
}

void container_job_stop(struct job *job, int64_t grace_ms)
{
    if (container_is_stopping(job) && grace_ms >= job->stop_grace_ms)
        return;
    bool first = !container_is_stopping(job);
    job->stop_grace_ms = grace_ms;
    if (job->phase == CONTAINER_IMAGE || job->phase == CONTAINER_PULL)
        container_gone(job);
    else if (job->phase == CONTAINER_RUNNING && !job->waited && (first || !job->killing))
        send_kill(job);
}

void container_job_read_output(struct job *job, bool on)
{
    job->reading = on;
    if (job->stream && job->phase >= CONTAINER_RUNNING)
        container_stream_read(job->stream, on);
}

bool container_job_input(struct job *job, struct str line, bool last)
{
    if (!job->stream || !job->stdin_open || job->adopted)
        return false;
    struct strbuf text;
    strbuf_init(&text, line.len + 2);
    strbuf_add(&text, line);
    if (line.len > 0)
        strbuf_addc(&text, '\n');
    bool ok = !strbuf_failed(&text) && container_stream_write(job->stream, strbuf_str(&text), last);
    strbuf_done(&text);
    return ok;
}

static void on_usage(void *ctx, enum err err, const struct http_answer *a)
{
    struct job *job = ctx;
    struct container_usage u;
    job->measuring = false;
    if (!container_answered(job, CONTAINER_RUNNING) || err || a->status != 200 || !container_read_usage(a->body, &u))
        return;
    int64_t now = clock_mono_ms();
    struct job_stats stats = {-1, u.memory, u.rx, u.tx};
    if (job->usage_ms > 0 && now > job->usage_ms && u.cpu_ns >= job->usage.cpu_ns && job->usage.cpu_ns >= 0)
        stats.cpu_percent = (double)(u.cpu_ns - job->usage.cpu_ns) / 1e4 / (double)(now - job->usage_ms);
    job->usage = u;
    job->usage_ms = now;
    job->events->stats(job->ctx, &stats);
}

void container_job_measure(struct job *job)
{
    if (job->phase != CONTAINER_RUNNING || job->measuring || job->waited)
        return;
    job->measuring = true;
    container_send(job, "GET", on_usage, STR_NONE, 0, "/containers/%s/stats?stream=false&one-shot=true", job->id);
}

/* A successor goes on with it, from its handle. */
void container_job_leave(struct job *job)
{
    loop_timer_stop(&job->again);
    loop_timer_stop(&job->kill);
    loop_timer_stop(&job->reopen);
    job->left = true;
    if (job->phase == CONTAINER_GONE)
        return; /* it ended in this very turn: what was to tell that frees it */
    container_stream_close(job->stream);
    container_oom_close(job->oom);
    container_unlink(job);
    job->phase = CONTAINER_GONE; /* to nobody but us */
    job->told = true;
    container_free_if_quiet(job);
}

bool container_job_owned(const struct executor_self *self, struct str id)
{
    const struct job *job = self->jobs;
    while (job && !str_eqz(id, job->id))
        job = job->next;
    return job != NULL;
}
