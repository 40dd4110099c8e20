/* errand queues: what waits, and pausing and draining. */
#include "cli/ask.h"

static bool is_true(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    return v && v->type == JSON_BOOL && v->boolean;
}

/* paused, draining, both or neither. */
static struct str state_of(const struct json *q)
{
    bool paused = is_true(q, "paused"), draining = is_true(q, "draining");
    return paused && draining ? STR("paused, draining") : paused ? STR("paused") : draining ? STR("draining") : STR("");
}

static void add_duration(struct table *t, int64_t ms)
{
    struct strbuf text;
    strbuf_init(&text, 64);
    if (ms >= 0)
        duration_write(&text, ms);
    table_add(t, text.len ? strbuf_str(&text) : STR("-"));
    strbuf_done(&text);
}

static void row(struct table *t, const struct json *q)
{
    int64_t waiting = json_number(q, "waiting", 0);
    table_add(t, json_text(q, "name"));
    table_addf(t, "%lld", (long long)waiting);
    table_addf(t, "%lld", (long long)json_number(q, "scheduled", 0));
    table_addf(t, "%lld", (long long)json_number(q, "running", 0));
    add_duration(t, waiting > 0 ? json_number(q, "oldestWaitingMs", -1) : -1);
    add_duration(t, json_number(q, "averageRunMs", -1));
    table_addf(t, "%lld/%lld", (long long)json_number(q, "busySlots", 0), (long long)json_number(q, "slots", 0));
    table_addf(t, "%lld", (long long)json_number(q, "desiredSlots", 0));
    table_add(t, state_of(q).len ? state_of(q) : STR("open"));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"QUEUE",   "WAITING", "SCHEDULED", "RUNNING", "OLDEST",
                                       "AVERAGE", "BUSY",    "WANTED",    "STATE"};
    return ask_list(cli, &(struct listing){.path = "/v1/queues",
                                           .member = "queues",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = SIZE_MAX,
                                           .row = row});
}

static void print_settings(struct cli *cli, void *ctx, const struct json *answer)
{
    if (cli->json) {
        ask_print(cli, ctx, answer);
        return;
    }
    int64_t max = json_number(answer, "maxWaiting", 0);
    printf("%.*s %.*s", STR_ARG(json_text(answer, "name")),
           STR_ARG(state_of(answer).len ? state_of(answer) : STR("open")));
    printf(max > 0 ? ", at most %lld waiting\n" : "\n", (long long)max);
}

enum { LIST, SHOW, PAUSE, RESUME, DRAIN, SET, VERBS };

int cmd_queues(struct cli *cli, const struct command *command, int argc, char **argv)
{
    int64_t max_waiting = -1;
    const struct option table[] = {
        {.name = "max-waiting",
         .type = OPTION_INT,
         .target = &max_waiting,
         .value = "N",
         .help = "set: runs that may wait in it, for each shard (0: no bound of its own)",
         .min = 0,
         .max = 1000000000},
    };
    const char *words[2] = {0};
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[VERBS] = {"list", "show", "pause", "resume", "drain", "set"};
    size_t verb = ask_verb(command, words[0] ? words[0] : "list", verbs, VERBS);
    if (verb == VERBS)
        return EXIT_USAGE;
    if ((verb == LIST) == (words[1] != NULL))
        return words[1] ? cli_usage_error(command, "unexpected '%s'", words[1])
                        : cli_usage_error(command, "%s needs a NAME", words[0]);
    if ((verb == SET) != (max_waiting >= 0))
        return cli_usage_error(command, verb == SET ? "set needs --max-waiting" : "--max-waiting goes with 'set NAME'");
    char body[48];
    snprintf(body, sizeof body, max_waiting > 0 ? "{\"maxWaiting\":%lld}" : "{\"maxWaiting\":null}",
             (long long)max_waiting);
    struct question q = {.method = "POST", .prefix = "/v1/queues/", .name = words[1]};
    switch (verb) {
    case LIST:
        return list(cli);
    case SHOW:
        q.method = "GET";
        return ask(cli, &q, ask_print, NULL);
    case SET:
        q.method = "PUT";
        q.body = str_of(body);
        break;
    default:
        q.suffix = verb == PAUSE ? "/pause" : verb == RESUME ? "/resume" : "/drain";
    }
    return ask(cli, &q, print_settings, NULL);
}
