/* errand schedules: what runs by the clock. */
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/submission.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/limits.h"

struct put_options {
    const char *name, *cron, *zone, *start, *end, *overlap, *catch_up, *agent, *input, *queue;
    int64_t every_ms, jitter_ms; /* -1: not given */
    bool paused;
};

typedef void (*print_fn)(const struct cli *cli, const struct json *answer);

/* Sends a request about one schedule and gives the answer to fn (NULL: none is printed). suffix: of the path. */
static int call(struct cli *cli, const char *method, const char *name, const char *suffix, struct str body, print_fn fn)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct strbuf path;
    struct arena arena;
    char token[44];
    strbuf_init(&path, 8192);
    arena_init(&arena, 64U << 20);
    strbuf_addz(&path, "/v1/schedules/");
    url_encode(&path, str_of(name));
    strbuf_addz(&path, suffix);
    crypto_token(token); /* a trigger that is sent again makes no second run */
    struct response response;
    client_send(client,
                &(struct request){.method = method,
                                  .path = path.ptr,
                                  .body = body,
                                  .idempotency_key = strcmp(method, "POST") == 0 ? token : NULL},
                &response);
    int status = response_ok(&response) ? EXIT_OK : client_complain(client, &response);
    if (status == EXIT_OK && fn && response.body.len) {
        const struct json *answer = client_json(&response, &arena, 130);
        if (answer)
            fn(cli, answer);
        else
            status = EXIT_UNREACHABLE;
    }
    arena_done(&arena);
    response_done(&response);
    strbuf_done(&path);
    return status;
}

static void print_whole(const struct cli *cli, const struct json *answer)
{
    struct strbuf out, safe;
    strbuf_init(&out, 8U << 20);
    strbuf_init(&safe, 16U << 20);
    if (cli->json)
        strbuf_add(&out, answer->raw);
    else
        json_pretty(&out, answer, 0);
    safe_text(&safe, strbuf_str(&out), true, isatty(STDOUT_FILENO));
    printf("%s\n", safe.ptr ? safe.ptr : "");
    strbuf_done(&out);
    strbuf_done(&safe);
}

static struct str next_of(const struct json *s)
{
    const struct json *paused = json_get(s, "paused");
    struct str next = json_text(s, "nextAt");
    return paused && paused->boolean ? STR("paused") : next.len > 0 ? next : STR("ended");
}

static void print_next(const struct cli *cli, const struct json *answer)
{
    if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
    else
        printf("%.*s next %.*s\n", STR_ARG(json_text(answer, "name")), STR_ARG(next_of(answer)));
}

static void print_run(const struct cli *cli, const struct json *answer)
{
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

static void add_schedules(const struct cli *cli, const struct json *schedules, struct table *t)
{
    for (const struct json *s = schedules && schedules->type == JSON_ARRAY ? schedules->child : NULL; s; s = s->next) {
        if (cli->json) {
            printf("%.*s\n", (int)s->raw.len, s->raw.ptr);
            continue;
        }
        table_add(t, json_text(s, "name"));
        add_when(t, s);
        table_add(t, next_of(s));
        table_add(t, json_text(s, "lastAt"));
        table_addf(t, "%lld", (long long)json_number(s, "runs", 0));
        table_addf(t, "%lld", (long long)json_number(s, "skipped", 0));
    }
}

/* One page behind the name in after, which then gets the next page's ("" at the end). */
static int list_page(struct cli *cli, struct client *client, struct strbuf *after, struct table *t)
{
    struct strbuf path;
    struct response response;
    struct arena arena;
    strbuf_init(&path, 4096);
    arena_init(&arena, 64U << 20);
    strbuf_addf(&path, "/v1/schedules?limit=%d", LIMIT_PAGE);
    if (after->len) {
        strbuf_addz(&path, "&after=");
        url_encode(&path, strbuf_str(after));
    }
    client_send(client, &(struct request){.method = "GET", .path = path.ptr}, &response);
    int status = response_ok(&response) ? EXIT_OK : client_complain(client, &response);
    const struct json *answer = status == EXIT_OK ? client_json(&response, &arena, 4) : NULL;
    if (status == EXIT_OK && !answer)
        status = EXIT_UNREACHABLE;
    strbuf_reset(after);
    add_schedules(cli, json_get(answer, "schedules"), t);
    strbuf_add(after, json_text(answer, "cursor"));
    arena_done(&arena);
    response_done(&response);
    strbuf_done(&path);
    return status;
}

static int list(struct cli *cli)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    static const char *const head[] = {"SCHEDULE", "WHEN", "NEXT", "LAST", "RUNS", "SKIPPED"};
    struct strbuf after;
    struct table t;
    strbuf_init(&after, 1024);
    table_init(&t, ARRAY_LEN(head));
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        table_add(&t, str_of(head[i]));
    int status;
    do
        status = list_page(cli, client, &after, &t);
    while (status == EXIT_OK && after.len > 0);
    if (status == EXIT_OK && !cli->json)
        table_print(&t, cli, SIZE_MAX);
    else
        strbuf_done(&t.cells);
    strbuf_done(&after);
    return status;
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
        return call(cli, "GET", name, "", STR_NONE, print_whole);
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
    size_t known = 0;
    while (known < ARRAY_LEN(verbs) && strcmp(verb, verbs[known]) != 0)
        known++;
    if (known == ARRAY_LEN(verbs)) {
        const char *near = nearest_word(verb, verbs, ARRAY_LEN(verbs));
        return cli_usage_error(command, "unknown '%s'%s%s", verb, near ? "; did you mean " : "", near ? near : "");
    }
    if (strcmp(verb, "put") == 0)
        return put(cli, command, words[1], &p);
    if (p.name || flags_given(&p))
        return cli_usage_error(command, "these options are for put");
    if (strcmp(verb, "list") == 0)
        return words[1] ? cli_usage_error(command, "unexpected '%s'", words[1]) : list(cli);
    return words[1] ? one(cli, verb, words[1]) : cli_usage_error(command, "%s needs a NAME", verb);
}
