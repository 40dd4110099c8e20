/* errand workspaces: their settings and what they use. */
#include "cli/ask.h"
#include "common/limits.h"

/* The settings, and what --… is called that gives each. */
static const struct {
    const char *field, *option;
    enum option_type type;
    const char *value, *help;
    int64_t min, max;
} settings[] = {
    {"weight", "weight", OPTION_INT, "N", "set: its share of runners beside other workspaces (default 1)", 1, 100},
    {"concurrency", "concurrency", OPTION_INT, "N", "set: runs executed at a time (0: no bound)", 0, LIMIT_CONCURRENCY},
    {"queueMax", "queue-max", OPTION_INT, "N", "set: runs that may wait (0: no bound)", 0, 1000000000},
    {"bytesMax", "bytes-max", OPTION_INT, "N", "set: bytes that its runs may hold (0: no bound)", 0,
     INT64_C(1000000000000000)},
    {"retentionMs", "retention", OPTION_DURATION, "TIME", "set: how long ended runs are kept (0: as the nodes say)", 0,
     INT64_C(31536000000)},
    {"retentionCount", "retention-count", OPTION_INT, "N", "set: ended runs kept of each agent (0: no bound)", 0,
     LIMIT_RETENTION_COUNT},
    {"eventsRetentionMs", "events-retention", OPTION_DURATION, "TIME",
     "set: how long their events are kept (0: as long as the run)", 0, INT64_C(31536000000)},
    {"resultRetentionMs", "result-retention", OPTION_DURATION, "TIME",
     "set: how long their results are kept (0: as long as the run)", 0, INT64_C(31536000000)},
};
enum { SETTINGS = ARRAY_LEN(settings) };

static void row(struct table *t, const struct json *w)
{
    static const char *const numbers[] = {"weight", "concurrency", "queueMax"};
    const struct json *usage = json_get(w, "usage");
    table_add(t, json_text(w, "name"));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int64_t n = json_number(w, numbers[i], 0);
        if (n > 0)
            table_addf(t, "%lld", (long long)n);
        else
            table_add(t, STR("-"));
    }
    table_addf(t, "%lld", (long long)json_number(usage, "waiting", 0));
    table_addf(t, "%lld", (long long)json_number(usage, "bytes", 0));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"WORKSPACE", "WEIGHT", "CONCURRENCY", "QUEUE MAX", "WAITING", "BYTES"};
    return ask_list(cli, &(struct listing){.path = "/v1/workspaces",
                                           .member = "workspaces",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = SIZE_MAX,
                                           .row = row,
                                           .pages = true});
}

/* What was given, and the body that is made of it and of the settings that are there: a PUT replaces all of them. */
struct change {
    int64_t given[SETTINGS]; /* -1: not given */
    struct strbuf body;
};

static void make_body(struct cli *cli, void *ctx, const struct json *answer)
{
    struct change *c = ctx;
    struct json_writer w;
    (void)cli;
    json_writer_init(&w, &c->body);
    json_object_begin(&w);
    for (size_t i = 0; i < SETTINGS; i++) {
        int64_t n = c->given[i] >= 0 ? c->given[i] : json_number(answer, settings[i].field, 0);
        if (n > 0)
            json_kv_int(&w, settings[i].field, n);
    }
    json_object_end(&w);
}

static int set(struct cli *cli, struct question q, struct change *c)
{
    strbuf_init(&c->body, 4096);
    q.method = "GET";
    int status = ask(cli, &q, make_body, c);
    if (status == EXIT_OK) {
        q.method = "PUT";
        q.body = strbuf_str(&c->body);
        status = ask(cli, &q, ask_print, NULL);
    }
    strbuf_done(&c->body);
    return status;
}

enum { LIST, SHOW, SET, DELETE, VERBS };

int cmd_workspaces(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct change c = {.given = {0}};
    struct option table[SETTINGS];
    for (size_t i = 0; i < SETTINGS; i++) {
        c.given[i] = -1;
        table[i] = (struct option){.name = settings[i].option,
                                   .type = settings[i].type,
                                   .target = &c.given[i],
                                   .value = settings[i].value,
                                   .help = settings[i].help,
                                   .min = settings[i].min,
                                   .max = settings[i].max};
    }
    const char *words[2] = {0};
    struct options o = {.table = table, .count = SETTINGS, .words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[VERBS] = {"list", "show", "set", "delete"};
    size_t verb = ask_verb(command, words[0] ? words[0] : "list", verbs, VERBS);
    if (verb == VERBS)
        return EXIT_USAGE;
    if ((verb == LIST) == (words[1] != NULL))
        return words[1] ? cli_usage_error(command, "unexpected '%s'", words[1])
                        : cli_usage_error(command, "%s needs a NAME", words[0]);
    bool any = false;
    for (size_t i = 0; i < SETTINGS; i++)
        any = any || c.given[i] >= 0;
    if ((verb == SET) != any)
        return cli_usage_error(command, verb == SET ? "set needs what to set, for example --weight 4"
                                                    : "settings go with 'set NAME'");
    struct question q = {.method = verb == SHOW ? "GET" : "DELETE", .prefix = "/v1/workspaces/", .name = words[1]};
    if (verb == LIST)
        return list(cli);
    if (verb == SET)
        return set(cli, q, &c);
    status = ask(cli, &q, ask_print, NULL);
    if (verb == DELETE && status == EXIT_OK)
        printf(cli->json ? "{\"deleted\":true}\n" : "%s has no settings now\n", words[1]);
    return status;
}
