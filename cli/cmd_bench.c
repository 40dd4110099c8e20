/* errand bench: puts a load on a deployment and says what it took. */
#include <stdlib.h>

#include "cli/bench.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/where.h"
#include "common/clock.h"
#include "common/crypto.h"

enum { CLOCKS_DIFFER_MS = 600000 }; /* between this machine and the deployment, at most */

static const struct bench_kind kinds[] = {
    {"submit", "runs that are accepted a second", bench_submit},
    {"noop", "runs that are submitted, executed and ended a second", bench_noop},
    {"ingress", "events that remote runtimes post a second", bench_ingress},
    {"latency", "from a submit to its first event at a reader", bench_latency},
    {"replay", "events of an ended run that readers get a second", bench_replay},
    {"fanout", "events of a live run that readers get a second", bench_fanout},
};

static const struct bench_kind *find_kind(const struct command *command, const char *word)
{
    const char *names[ARRAY_LEN(kinds)];
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        names[i] = kinds[i].name;
        if (strcmp(word, names[i]) == 0)
            return &kinds[i];
    }
    const char *near = nearest_word(word, names, ARRAY_LEN(names));
    (void)cli_usage_error(command, "nothing is measured under the name '%s'%s%s", word, near ? "; did you mean " : "",
                          near ? near : "");
    return NULL;
}

static bool take_workspaces(struct bench *b)
{
    struct str list = str_of(b->asked.workspaces), word;
    while (str_next_word(&list, &word)) {
        if (b->workspace_count == BENCH_WORKSPACES_MAX || word.len > 128)
            return false;
        b->workspaces[b->workspace_count++] = word;
    }
    if (b->workspace_count == 0)
        b->workspaces[b->workspace_count++] = STR_NONE;
    return true;
}

/* Where the API is, and under which name the runs of this call go. */
static int open_bench(struct bench *b)
{
    struct where w;
    struct strbuf message;
    const char *why = NULL;
    char token[44];
    bool loopback = true;
    if (!take_workspaces(b))
        return cli_usage_error(b->command, "--workspace takes at most %d names of at most 128 characters",
                               BENCH_WORKSPACES_MAX);
    if (where_find(b->cli->url, &w, &why) != ERR_OK) {
        cli_say("%s", why);
        return EXIT_USAGE;
    }
    snprintf(b->key, sizeof b->key, "%s", w.key);
    explicit_bzero(w.key, sizeof w.key);
    crypto_token(token);
    for (size_t i = 0; i < 10; i++) /* as a part of an agent's name: no '-' or '_' beside others */
        b->id[i] = token[i] == '-' || token[i] == '_' ? 'x' : token[i];
    clock_iso(clock_wall_ms() - CLOCKS_DIFFER_MS, b->began);
    interrupt_begin();
    strbuf_init(&message, 1000);
    enum err err = load_new(w.url, &b->load, &loopback, &message);
    int status = EXIT_OK;
    if (err) {
        cli_say("%s", err == ERR_CONFIG ? message.ptr : "out of memory or files");
        status = EXIT_USAGE;
    } else if (!loopback && !b->asked.yes) {
        status = cli_usage_error(
            b->command, "this puts load on %s, which is not on this machine; --yes says that it is meant", w.url);
    }
    strbuf_done(&message);
    return status;
}

static int run_kind(struct bench *b, const struct bench_kind *kind)
{
    struct bench_result *r = calloc(1, sizeof *r);
    if (!r)
        return EXIT_UNREACHABLE;
    r->name = kind->name;
    if (b->cli->live)
        status_show(b->cli, "%s: %s", kind->name, kind->summary);
    int status = kind->run(b, r);
    bench_clean(b);
    bench_report(b, r);
    if (status == EXIT_OK && r->failed > 0)
        status = EXIT_RUN_ERROR;
    free(r);
    return status;
}

/* Without a name: something of each, small enough for a deployment that is in use. What was said on the command line is kept; -1: the measurement's own. */
static int run_all(struct bench *b)
{
    static const struct {
        const char *kind;
        int64_t connections, requests, batch, readers, events;
    } steps[] = {
        {"submit", 1, 300, -1, -1, -1},  {"submit", 16, 1000, -1, -1, -1}, {"submit", 2, 10, 100, -1, -1},
        {"noop", -1, 200, 50, -1, -1},   {"latency", -1, 50, -1, -1, -1},  {"replay", -1, -1, -1, 10, 2000},
        {"fanout", -1, -1, -1, 50, 500},
    };
    const struct bench_options asked = b->asked;
    int worst = EXIT_OK;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        bool readers = steps[i].readers > 0;
        if (readers && asked.agent) /* they need agents that print as many events as were asked for */
            continue;
        b->asked = asked;
        b->asked.connections = steps[i].connections;
        b->asked.requests = steps[i].requests;
        b->asked.batch = steps[i].batch;
        b->asked.readers = steps[i].readers;
        b->asked.events = steps[i].events;
        if (strcmp(steps[i].kind, "submit") == 0)
            b->asked.queue = NULL;
        int status = run_kind(b, find_kind(b->command, steps[i].kind));
        if (status == EXIT_DETACHED || (status != EXIT_OK && i == 0))
            return status;
        worst = status > worst ? status : worst;
    }
    b->asked = asked;
    return worst;
}

static int run_bench(struct bench *b, const struct bench_kind *kind)
{
    int status = open_bench(b);
    if (status == EXIT_OK && bench_allowed(b, &status)) {
        bench_table_begin(b);
        if (!kind && !b->cli->json)
            cli_say("measuring %s: some 10,000 runs in less than a minute, which are removed again",
                    load_host(b->load));
        status = kind ? run_kind(b, kind) : run_all(b);
        bench_table_print(b);
    }
    load_free(b->load);
    explicit_bzero(b->key, sizeof b->key);
    return status;
}

#define COUNT(option, field, low, high, text)                                                                          \
    {                                                                                                                  \
        .name = option, .type = OPTION_INT, .target = &b.asked.field, .value = "N", .help = text, .min = low,          \
        .max = high                                                                                                    \
    }
#define TEXT(option, field, what, text)                                                                                \
    {                                                                                                                  \
        .name = option, .type = OPTION_STRING, .target = &b.asked.field, .value = what, .help = text                   \
    }

int cmd_bench(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct bench b = {.cli = cli,
                      .command = command,
                      .asked = {.connections = -1,
                                .requests = -1,
                                .duration_ms = -1,
                                .batch = -1,
                                .readers = -1,
                                .events = -1,
                                .bytes = -1,
                                .warmup = -1,
                                .repeat = 3,
                                .rate = -1}};
    const struct option table[] = {
        COUNT("connections", connections, 1, BENCH_CONNECTIONS_MAX, "connections, with one request in flight on each"),
        COUNT("requests", requests, 1, 100000000, "requests of a repetition"),
        {.name = "seconds",
         .type = OPTION_DURATION,
         .target = &b.asked.duration_ms,
         .value = "TIME",
         .help = "as many requests as a repetition of this length takes",
         .min = 10,
         .max = 3600000},
        COUNT("batch", batch, 1, 1000, "runs, or events, of a request"),
        COUNT("readers", readers, 1, BENCH_CONNECTIONS_MAX, "readers of one run"),
        COUNT("events", events, 1, 1000000, "events of that run"),
        COUNT("rate", rate, 1, 1000000, "so many a second, instead of as many as can be"),
        COUNT("bytes", bytes, 0, 1000000, "bytes of a run's input, or of an event's text"),
        COUNT("warmup", warmup, 0, 100000000, "requests before that are not counted"),
        COUNT("repeat", repeat, 1, BENCH_REPEAT_MAX, "repetitions; the median is shown (3)"),
        TEXT("agent", agent, "NAME", "a registered agent instead of one made for this"),
        TEXT("executor", executor, "NAME", "of the agent that is made for this"),
        TEXT("run", run, "ID", "replay: of this run, which has ended"),
        TEXT("tokens", tokens, "FILE", "ingress: runs and their tokens, a line each (- is standard input)"),
        TEXT("queue", queue, "NAME", "where runs go"),
        TEXT("workspace", workspaces, "NAME,...", "with the root key: workspaces, in turns"),
        {.name = "keep",
         .type = OPTION_FLAG,
         .target = &b.asked.keep,
         .help = "no label, and nothing is removed: for a deployment of its own"},
        {.name = "sample",
         .type = OPTION_FLAG,
         .target = &b.asked.sample,
         .help = "noop: look at the records of the newest runs only"},
        {.name = "yes",
         .letter = 'y',
         .type = OPTION_FLAG,
         .target = &b.asked.yes,
         .help = "also where the API is not on this machine"},
    };
    const char *word = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &word, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    const struct bench_kind *kind = word ? find_kind(command, word) : NULL;
    return kind || !word ? run_bench(&b, kind) : EXIT_USAGE;
}
