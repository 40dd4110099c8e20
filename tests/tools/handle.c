/* Executor operations in a process of their own, from what a test gives: a stored handle, or a job's specification.
 *
 *   handle EXECUTOR status HANDLE         {"status":"running"}
 *   handle EXECUTOR stop HANDLE           takes it over and stops it with all of its tree: {"gone":…}
 *   handle EXECUTOR adopt HANDLE          takes it over and waits for its end: {"gone":…}
 *   handle EXECUTOR start SPEC            starts it twice: {"started":HANDLE} for each start, and once more when it is the same job; then stops it: {"gone":…}
 *   handle EXECUTOR capabilities          what it enforces here: ["timeout",…]
 * EXECUTOR is opened with the options of a runner's environment. SPEC: an object with runId, attempt, command (words), env ("KEY=value" words), workdir, private, image, url, definition (an object), input (any value), memoryMb, cpuMilli, pids.
 * Status 0: done; 3: the executor has no such operation, or refuses; 2: wrong use. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/json.h"
#include "common/log.h"
#include "runner/executor.h"
#include "runner/workdir.h"

enum { WORDS_MAX = 200, GRACE_MS = 1000 };

struct tool {
    struct config config;
    struct executor_context context;
    struct executor_self *selves[EXECUTORS_MAX];
    bool open[EXECUTORS_MAX];
    const struct executor *executor;
    struct executor_self *self;
    struct job *job, *again;
    struct job_spec spec;
    struct arena arena;
    bool twice, told;
    int waiting; /* jobs whose gone() is to come */
};

static const struct job_events events;

static void say(const char *text)
{
    (void)!write(1, text, strlen(text));
}

static void say_status(void *ctx, const struct job_snapshot *s)
{
    static const char *const names[] = {"queued", "provisioning", "running", "stopping", "terminated", "failed"};
    struct tool *t = ctx;
    char line[600];
    snprintf(line, sizeof line, "{\"status\":\"%s\",\"errorClass\":\"%s\"}\n", names[s->status],
             s->error_class ? s->error_class : "");
    say(line);
    t->told = true;
    loop_stop(t->context.loop);
}

static void on_started(void *ctx, struct str handle)
{
    struct tool *t = ctx;
    char line[2048];
    snprintf(line, sizeof line, "{\"started\":%.*s}\n", STR_ARG(handle));
    say(line);
    if (!t->twice)
        return;
    if (t->again) { /* the second one's word */
        t->executor->stop(t->job, GRACE_MS);
        if (t->again != t->job)
            t->executor->stop(t->again, GRACE_MS);
        return;
    }
    const char *why = "?";
    t->again = t->executor->start(t->self, &t->spec, &events, t, &why);
    if (t->again == t->job) {
        say(line); /* one job: it says it once, and it is the second start's as well */
        t->executor->stop(t->job, GRACE_MS);
    } else if (t->again) {
        t->waiting++;
    } else {
        snprintf(line, sizeof line, "{\"refused\":\"%.200s\"}\n", why);
        say(line);
        t->executor->stop(t->job, GRACE_MS);
    }
}

static void on_output(void *ctx, enum job_stream stream, struct str bytes)
{
    (void)ctx;
    if (stream == JOB_STDERR)
        (void)!write(2, bytes.ptr, bytes.len);
}

static void on_stats(void *ctx, const struct job_stats *stats)
{
    (void)ctx;
    (void)stats;
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct tool *t = ctx;
    char line[700];
    snprintf(line, sizeof line,
             "{\"gone\":{\"started\":%s,\"signaled\":%s,\"code\":%d,\"class\":\"%s\",\"message\":\"%.400s\"}}\n",
             how->started ? "true" : "false", how->signaled ? "true" : "false", how->code, how->class ? how->class : "",
             how->message ? how->message : "");
    say(line);
    if (--t->waiting == 0)
        loop_stop(t->context.loop);
}

static const struct job_events events = {
    .started = on_started, .output = on_output, .stats = on_stats, .gone = on_gone};

/* ---- a specification ---- */

static const char *text_of(struct tool *t, const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? arena_strdup(&t->arena, v->string) : NULL;
}

static int64_t number_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v && v->type == JSON_INT ? v->integer : 0;
}

static const char *const *words_of(struct tool *t, const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    const char **words = arena_alloc(&t->arena, (WORDS_MAX + 1) * sizeof *words);
    size_t n = 0;
    if (!v || v->type != JSON_ARRAY)
        return NULL;
    for (const struct json *w = v->child; w && n < WORDS_MAX; w = w->next)
        words[n++] = arena_strdup(&t->arena, w->string);
    words[n] = NULL;
    return words;
}

static struct str raw_of(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);
    return v ? v->raw : STR("null");
}

static bool read_spec(struct tool *t, struct str text)
{
    static const char *const no_words[] = {NULL};
    struct json *o;
    if (json_parse(&t->arena, text, 32, 4, &o, NULL) != ERR_OK)
        return false;
    const char *const *env = words_of(t, o, "env");
    const char *run_id = text_of(t, o, "runId"), *digest = text_of(t, o, "codeDigest");
    t->spec = (struct job_spec){
        .run_id = str_of(run_id ? run_id : "r"),
        .workspace = STR("w"),
        .agent = STR("agent"),
        .attempt = number_of(o, "attempt"),
        .command = words_of(t, o, "command"),
        .env = env ? env : no_words,
        .workdir = text_of(t, o, "workdir"),
        .private = text_of(t, o, "private"),
        .code_digest = str_of(digest),
        .image = text_of(t, o, "image"),
        .url = text_of(t, o, "url"),
        .region = text_of(t, o, "region"),
        .model = text_of(t, o, "model"),
        .limits = {.memory_bytes = number_of(o, "memoryMb") << 20,
                   .cpu_milli = number_of(o, "cpuMilli"),
                   .pids = number_of(o, "pids")},
        .allow_hosts = no_words,
        .input_line = raw_of(o, "input"),
        .input = raw_of(o, "input"),
        .protocol = STR("events"),
        .definition = raw_of(o, "definition"),
        .grace_ms = GRACE_MS,
        .remote_events = number_of(o, "remote") != 0,
        .timeout_ms = 60000,
    };
    return true;
}

/* ---- what is asked for ---- */

static int show_capabilities(struct tool *t)
{
    const char *comma = "[";
    for (const char *const *c = executor_capabilities; *c; c++) {
        if (!t->executor->supports(t->self, *c))
            continue;
        say(comma);
        say("\"");
        say(*c);
        say("\"");
        comma = ",";
    }
    say(*comma == '[' ? "[]\n" : "]\n");
    return 0;
}

static int refused(const char *why)
{
    fprintf(stderr, "handle: %s\n", why);
    return 3;
}

static int perform(struct tool *t, const char *verb, const char *argument)
{
    const char *why = "this executor takes nothing over";
    struct str text = str_of(argument);
    if (strcmp(verb, "capabilities") == 0)
        return show_capabilities(t);
    if (strcmp(verb, "status") == 0) {
        t->executor->status(t->self, text, say_status, t);
        if (!t->told)
            loop_run(t->context.loop);
        return 0;
    }
    bool start = strcmp(verb, "start") == 0;
    if (start) {
        if (!read_spec(t, text))
            return refused("that specification is no JSON object");
        t->twice = true;
        t->job = t->executor->start(t->self, &t->spec, &events, t, &why);
    } else if (t->executor->adopt) {
        t->job = t->executor->adopt(t->self, text, &t->spec, &events, t, &why);
    }
    if (!t->job)
        return refused(why);
    t->waiting++;
    if (strcmp(verb, "stop") == 0)
        t->executor->stop(t->job, GRACE_MS);
    loop_run(t->context.loop);
    return 0;
}

static int open_and_perform(struct tool *t, char **argv, const char *exec_path)
{
    struct strbuf why;
    strbuf_init(&why, 4096);
    struct workdirs folders = {0};
    if (!strstr(t->config.executors, argv[1])) /* else it may stand there with what it needs beside it */
        t->config.executors = argv[1];
    t->context = (struct executor_context){
        .config = &t->config, .loop = loop_new(), .exec_path = exec_path, .workdirs = &folders};
    int status = 0;
    if (workdirs_open(&t->config, &folders, &why) != ERR_OK)
        return refused(why.ptr);
    if (executors_open(&t->context, t->selves, t->open, &why) != ERR_OK) {
        status = refused(why.len ? why.ptr : "it can't be opened");
        _exit(status);
    }
    t->executor = executor_find(str_of(argv[1]));
    t->self = t->selves[executor_index(t->executor)];
    status = perform(t, argv[2], argv[3]);
    executors_close(&t->context, t->selves, t->open);
    loop_free(t->context.loop);
    workdirs_close(&folders);
    strbuf_done(&why);
    return status;
}

int main(int argc, char **argv)
{
    struct tool t = {.spec = {.run_id = STR("r"), .attempt = 1}};
    struct strbuf message;
    enum config_action action;
    char exec_path[4096] = "";
    if (argc < 3 || (argc < 4 && strcmp(argv[2], "capabilities") != 0)) {
        fputs("usage: handle EXECUTOR status|stop|adopt|start|capabilities [HANDLE|SPEC]\n", stderr);
        return 2;
    }
    strbuf_init(&message, 65536);
    if (config_load(&t.config, FOR_RUNNER, 1, argv, &action, &message) != ERR_OK) {
        fprintf(stderr, "%s\n", message.ptr);
        return 2;
    }
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT, "handle", STR("handle"));
    if (!t.config.node[0])
        t.config.node = "handle";
    ssize_t n = readlink("/proc/self/exe", exec_path, sizeof exec_path - 32);
    char *slash = n > 0 ? strrchr(exec_path, '/') : NULL;
    if (slash)
        snprintf(slash, 32, "/../errand-exec");
    arena_init(&t.arena, 1 << 20);
    int status = open_and_perform(&t, argv, t.config.exec_path[0] ? t.config.exec_path : exec_path);
    arena_done(&t.arena);
    strbuf_done(&message);
    config_done(&t.config);
    return status;
}
