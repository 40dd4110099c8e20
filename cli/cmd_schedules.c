/* errand schedules: what runs by the clock. */
#include <stdlib.h>

#include "cli/ask.h"
#include "cli/submission.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/limits.h"

struct put_options {
    const char *name, *cron, *zone, *start, *end, *overlap, *catch_up, *agent, *input, *queue;
    int64_t every_ms, jitter_ms; /* -1: not given */
    bool paused;
};

typedef void (*print_fn)(struct cli *cli, void *ctx, const struct json *answer);

/* Asks about one schedule. suffix: of the path. A trigger that is sent again makes no second run. */
static int call(struct cli *cli, const char *method, const char *name, const char *suffix, struct str body, print_fn fn)
{
    char token[44];
    crypto_token(token);
    const struct question q = {.method = method,
                               .prefix = "/v1/schedules/",
                               .name = name,
                               .suffix = suffix,
                               .body = body,
                               .idempotency_key = strcmp(suffix, "/trigger") == 0 ? token : NULL};
    return ask(cli, &q, fn, NULL);
}

static struct str next_of(const struct json *s)
{
    const struct json *paused = json_get(s, "paused");
    struct str next = json_text(s, "nextAt");
    return paused && paused->boolean ? STR("paused") : next.len > 0 ? next : STR("ended");
}

static void print_next(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
    if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
    else
        printf("%.*s next %.*s\n", STR_ARG(json_text(answer, "name")), STR_ARG(next_of(answer)));
}

static void print_run(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
    struct str id = json_text(answer, "runId");
    if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
    else
        printf("%.*s\n", STR_ARG(id));
}

/* ---- list ---- */

static void add_when(struct table *t, const struct json *s)
{
    struct strbuf when;
    struct str cron = json_text(s, "cron"), zone = json_text(s, "timeZone");
    strbuf_init(&when, 1024);
    if (cron.len > 0) {
        strbuf_add(&when, cron);
        if (!str_eqz(zone, "UTC"))
            strbuf_addf(&when, " %.*s", STR_ARG(zone));
    } else {
        strbuf_addz(&when, "every ");
        duration_write(&when, json_number(s, "everyMs", 0));
    }
    table_add(t, strbuf_str(&when));
    strbuf_done(&when);
}

static void add_row(struct table *t, const struct json *s)
{
    table_add(t, json_text(s, "name"));
    add_when(t, s);
    table_add(t, next_of(s));
    table_add(t, json_text(s, "lastAt"));
    table_addf(t, "%lld", (long long)json_number(s, "runs", 0));
    table_addf(t, "%lld", (long long)json_number(s, "skipped", 0));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"SCHEDULE", "WHEN", "NEXT", "LAST", "RUNS", "SKIPPED"};
    static const struct listing schedules = {.path = "/v1/schedules",
                                             .member = "schedules",
                                             .head = head,
                                             .columns = ARRAY_LEN(head),
                                             .status_column = SIZE_MAX,
                                             .row = add_row,
                                             .pages = true};
    return ask_list(cli, &schedules);
}

/* ---- put ---- */

static bool flags_given(const struct put_options *p)
{
    return p->cron || p->zone || p->start || p->end || p->overlap || p->catch_up || p->agent || p->input || p->queue ||
           p->every_ms >= 0 || p->jitter_ms >= 0 || p->paused;
}

/* The schedule that the options describe. False after a complaint. */
static bool write_flags(const struct put_options *p, struct strbuf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str_opt(&w, "cron", str_of(p->cron));
    if (p->every_ms >= 0)
        json_kv_int(&w, "everyMs", p->every_ms);
    json_kv_str_opt(&w, "timeZone", str_of(p->zone));
    if (p->jitter_ms >= 0)
        json_kv_int(&w, "jitterMs", p->jitter_ms);
    json_kv_str_opt(&w, "startAt", str_of(p->start));
    json_kv_str_opt(&w, "endAt", str_of(p->end));
    json_kv_str_opt(&w, "overlap", str_of(p->overlap));
    json_kv_str_opt(&w, "catchUp", str_of(p->catch_up));
    if (p->paused)
        json_kv_bool(&w, "paused", true);
    json_key(&w, "run");
    json_object_begin(&w);
    json_kv_str_opt(&w, "agent", str_of(p->agent));
    json_kv_str_opt(&w, "queue", str_of(p->queue));
    if (p->input) {
        size_t len = 0;
        char *input = submission_input(p->input, &len);
        if (!input)
            return false;
        json_kv_raw(&w, "input", (struct str){input, len});
        free(input);
    }
    json_object_end(&w);
    json_object_end(&w);
    return true;
}

/* The schedule in a file, under the given name if there is one. ret_name: what it is called, malloc'd. False after a complaint. */
static bool write_file(const char *file, const char *name, struct strbuf *out, char **ret_name)
{
    size_t len = 0;
    char *text = cli_read_file(file, LIMIT_BODY, &len);
    if (!text)
        return false;
    struct arena arena;
    struct json *root = NULL;
    const char *why = NULL;
    arena_init(&arena, 64U << 20);
    bool ok = json_parse(&arena, (struct str){text, len}, LIMIT_JSON_DEPTH, 1, &root, &why) == ERR_OK;
    if (!ok)
        cli_say("%s is not valid JSON: %s", file, why ? why : "it can't be read");
    else if (root->type != JSON_OBJECT)
        cli_say("%s is no schedule: it has to be a JSON object", file);
    ok = ok && root->type == JSON_OBJECT;
    if (ok) {
        struct json_writer w;
        struct str found = name ? str_of(name) : json_text(root, "name");
        json_writer_init(&w, out);
        json_object_begin(&w);
        for (const struct json *m = root->child; m; m = m->next) {
            if (str_eqz(m->key, "name"))
                continue; /* the path says it */
            json_key_str(&w, m->key);
            json_raw(&w, m->raw);
        }
        json_object_end(&w);
        *ret_name = strndup(found.ptr ? found.ptr : "", found.len);
    }
    arena_done(&arena);
    free(text);
    return ok;
}

static int put(struct cli *cli, const struct command *command, const char *file, const struct put_options *p)
{
    struct strbuf body;
    char *name = NULL;
    int status = EXIT_USAGE;
    if (file && flags_given(p))
        return cli_usage_error(command, "put takes a FILE, or options that say what to run and when, not both");
    if (!file && (!p->name || !p->agent || (!p->cron && p->every_ms < 0)))
        return cli_usage_error(command, "put needs a FILE, or --name, --agent, and --cron or --every");
    strbuf_init(&body, LIMIT_BODY * 2);
    if (!file && write_flags(p, &body))
        name = strdup(p->name);
    else if (file && !write_file(file, p->name, &body, &name))
        name = NULL;
    if (name && !*name)
        status = cli_usage_error(command, "%s has no \"name\"; give one with --name", file ? file : "it");
    else if (name)
        status = call(cli, "PUT", name, "", strbuf_str(&body), print_next);
    free(name);
    strbuf_done(&body);
    return status;
}

/* ---- the command ---- */

static int one(struct cli *cli, const char *verb, const char *name)
{
    if (strcmp(verb, "show") == 0)
        return call(cli, "GET", name, "", STR_NONE, ask_print);
    if (strcmp(verb, "pause") == 0)
        return call(cli, "POST", name, "/pause", STR_NONE, print_next);
    if (strcmp(verb, "resume") == 0)
        return call(cli, "POST", name, "/resume", STR_NONE, print_next);
    if (strcmp(verb, "trigger") == 0)
        return call(cli, "POST", name, "/trigger", STR_NONE, print_run);
    int status = call(cli, "DELETE", name, "", STR_NONE, NULL);
    if (status == EXIT_OK && cli->json)
        printf("{\"deleted\":true}\n");
    else if (status == EXIT_OK)
        printf("%s deleted\n", name);
    return status;
}

int cmd_schedules(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct put_options p = {.every_ms = -1, .jitter_ms = -1};
    const struct option table[] = {
        {.name = "name", .type = OPTION_STRING, .target = &p.name, .value = "NAME", .help = "put: what it is called"},
        {.name = "cron",
         .type = OPTION_STRING,
         .target = &p.cron,
         .value = "EXPRESSION",
         .help = "put: when, as '0 3 * * *' (six fields: seconds first)"},
        {.name = "every",
         .type = OPTION_DURATION,
         .target = &p.every_ms,
         .value = "TIME",
         .help = "put: when, as an interval: 30s, 5m, 2h",
         .min = LIMIT_EVERY_MIN_MS,
         .max = LIMIT_EVERY_MS},
        {.name = "time-zone",
         .type = OPTION_STRING,
         .target = &p.zone,
         .value = "ZONE",
         .help = "put: the zone of --cron, as Europe/London (default: UTC)"},
        {.name = "jitter",
         .type = OPTION_DURATION,
         .target = &p.jitter_ms,
         .value = "TIME",
         .help = "put: start each run up to this much later",
         .min = 0,
         .max = LIMIT_JITTER_MS},
        {.name = "start",
         .type = OPTION_STRING,
         .target = &p.start,
         .value = "WHEN",
         .help = "put: no run before, as 2026-01-02T03:04:05Z"},
        {.name = "end", .type = OPTION_STRING, .target = &p.end, .value = "WHEN", .help = "put: no run after"},
        {.name = "overlap",
         .type = OPTION_STRING,
         .target = &p.overlap,
         .value = "WORD",
         .help = "put: while an earlier run is not over: skip, queue, replace, allow"},
        {.name = "catch-up",
         .type = OPTION_STRING,
         .target = &p.catch_up,
         .value = "WORD",
         .help = "put: which of the ticks that were missed run: skip (none), last, all"},
        {.name = "paused", .type = OPTION_FLAG, .target = &p.paused, .help = "put: not before 'resume'"},
        {.name = "agent", .type = OPTION_STRING, .target = &p.agent, .value = "AGENT", .help = "put: what to run"},
        {.name = "input",
         .letter = 'i',
         .type = OPTION_STRING,
         .target = &p.input,
         .value = "JSON|@FILE|-",
         .help = "put: the agent's input"},
        {.name = "queue",
         .type = OPTION_STRING,
         .target = &p.queue,
         .value = "QUEUE",
         .help = "put: the queue of its runs (default: the agent's)"},
    };
    const char *words[2] = {0};
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[] = {"list", "put", "show", "delete", "pause", "resume", "trigger"};
    const char *verb = words[0] ? words[0] : "list";
    if (ask_verb(command, verb, verbs, ARRAY_LEN(verbs)) == ARRAY_LEN(verbs))
        return EXIT_USAGE;
    if (strcmp(verb, "put") == 0)
        return put(cli, command, words[1], &p);
    if (p.name || flags_given(&p))
        return cli_usage_error(command, "these options are for put");
    if (strcmp(verb, "list") == 0)
        return words[1] ? cli_usage_error(command, "unexpected '%s'", words[1]) : list(cli);
    return words[1] ? one(cli, verb, words[1]) : cli_usage_error(command, "%s needs a NAME", verb);
}
