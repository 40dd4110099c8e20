/* errand runners, limits, keygen: short lists, and a key. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/ask.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/limits.h"
#include "common/vault.h"

/* process (timeout, memory_limit), sandbox (…): what each executor enforces on that machine, as it found out by trying. */
static void add_enforced(struct table *t, const struct json *capabilities)
{
    struct strbuf out;
    strbuf_init(&out, 65536);
    for (const struct json *e = capabilities ? capabilities->child : NULL; e; e = e->next) {
        strbuf_addf(&out, "%s%.*s (", out.len > 0 ? ", " : "", STR_ARG(e->key));
        for (const struct json *c = e->child; c; c = c->next)
            strbuf_addf(&out, "%.*s%s", STR_ARG(c->string), c->next ? ", " : "");
        strbuf_addz(&out, e->child ? ")" : "nothing)");
    }
    table_add(t, out.len > 0 ? strbuf_str(&out) : STR("-"));
    strbuf_done(&out);
}

static void runner_row(struct table *t, const struct json *r)
{
    const struct json *draining = json_get(r, "draining");
    struct strbuf age;
    strbuf_init(&age, 64);
    age_write(&age, json_time(r, "startedAt"), clock_wall_ms());
    table_add(t, json_text(r, "name"));
    table_add(t, json_text(r, "id"));
    table_addf(t, "%lld/%lld", (long long)json_number(r, "busy", 0), (long long)json_number(r, "slots", 0));
    ask_joined(t, json_get(r, "queues"), "none");
    ask_joined(t, json_get(r, "executors"), "none");
    ask_joined(t, json_get(r, "tags"), "-");
    table_add(t, strbuf_str(&age));
    table_add(t, draining && draining->type == JSON_BOOL && draining->boolean ? STR("draining") : STR("live"));
    add_enforced(t, json_get(r, "capabilities"));
    strbuf_done(&age);
}

static void print_drained(struct cli *cli, void *ctx, const struct json *answer)
{
    if (cli->json)
        ask_print(cli, ctx, answer);
    else
        printf("%.*s drains: it finishes its runs and ends\n", STR_ARG(json_text(answer, "id")));
}

int cmd_runners(struct cli *cli, const struct command *command, int argc, char **argv)
{
    const char *words[2] = {0};
    struct options o = {.words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[] = {"list", "drain"};
    size_t verb = ask_verb(command, words[0] ? words[0] : "list", verbs, ARRAY_LEN(verbs));
    if (verb == ARRAY_LEN(verbs))
        return EXIT_USAGE;
    if (verb == 0 && words[1])
        return cli_usage_error(command, "unexpected '%s'", words[1]);
    if (verb == 1 && !words[1])
        return cli_usage_error(command, "drain needs an ID (or a runner's name)");
    if (verb == 1)
        return ask(cli,
                   &(struct question){.method = "POST", .prefix = "/v1/runners/", .name = words[1], .suffix = "/drain"},
                   print_drained, NULL);
    static const char *const head[] = {"RUNNER", "ID",      "BUSY",  "QUEUES",  "EXECUTORS",
                                       "TAGS",   "STARTED", "STATE", "ENFORCES"};
    return ask_list(cli, &(struct listing){.path = "/v1/runners",
                                           .member = "runners",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = 4,
                                           .row = runner_row});
}

int cmd_limits(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct options o = {0};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const struct {
        const char *name;
        int64_t value;
        const char *unit, *what;
    } limits[] = {
#define LIMIT_ROW(name, value, unit, what) {#name, value, unit, what},
        LIMIT_TABLE(LIMIT_ROW)
#undef LIMIT_ROW
    };
    struct table t;
    table_init(&t, 3);
    table_add(&t, STR("LIMIT"));
    table_add(&t, STR("UNIT"));
    table_add(&t, STR("OF"));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (cli->json) {
            printf("{\"name\":\"%s\",\"value\":%lld,\"unit\":\"%s\",\"of\":\"%s\"}\n", limits[i].name,
                   (long long)limits[i].value, limits[i].unit, limits[i].what);
            continue;
        }
        table_addf(&t, "%lld", (long long)limits[i].value);
        table_add(&t, str_of(limits[i].unit));
        table_add(&t, str_of(limits[i].what));
    }
    if (cli->json)
        strbuf_done(&t.cells);
    else
        table_print(&t, cli, SIZE_MAX);
    return EXIT_OK;
}

int cmd_keygen(struct cli *cli, const struct command *command, int argc, char **argv)
{
    bool master = false;
    const struct option table[] = {
        {.name = "master",
         .type = OPTION_FLAG,
         .target = &master,
         .help = "a master key, which seals secrets, instead of a root key"},
    };
    struct options o = {.table = table, .count = ARRAY_LEN(table)};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    char token[44], key[VAULT_KEY_TEXT];
    if (master) {
        vault_keygen(key);
    } else {
        crypto_token(token);
        snprintf(key, sizeof(key), "errand_root_%s", token);
        explicit_bzero(token, sizeof(token));
    }
    printf(cli->json ? "{\"key\":\"%s\"}\n" : "%s\n", key);
    explicit_bzero(key, sizeof(key));
    return EXIT_OK;
}
