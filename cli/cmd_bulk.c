/* errand bulk: an action on every run that the filters find, page by page; each page says where the next one begins, so that an interrupted one can be taken up again. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/filters.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "common/crypto.h"
#include "common/limits.h"

enum { PAGE_TIME_MS = 300000 };

struct action {
    const char *name, *done;
};
static const struct action actions[] = {
    {"stop", "stopped"}, {"rerun", "rerun"}, {"delete", "deleted"}, {"redrive", "redriven"}};

struct bulk_options {
    const struct action *action;
    struct filters filters;
    const char *cursor, *idempotency_key;
    int64_t limit; /* 0: none */
    bool yes;
};

/* What came of it so far. */
struct bulk_state {
    char cursor[128]; /* "": the beginning, or the end */
    int64_t examined, done, skipped, failed;
    bool ended;
};

static void show_progress(struct cli *cli, const struct bulk_options *o, const struct bulk_state *s)
{
    if (cli->live)
        status_show(cli, "%lld examined, %lld %s", (long long)s->examined, (long long)s->done, o->action->done);
    else
        fprintf(stderr, "%lld examined, %lld %s\n", (long long)s->examined, (long long)s->done, o->action->done);
}

static void take_answer(struct cli *cli, struct bulk_state *s, const struct json *answer)
{
    const struct json *failed = json_get(answer, "failed"), *cursor = json_get(answer, "cursor");
    s->examined += json_number(answer, "examined", 0);
    s->done += json_number(answer, "done", 0);
    s->skipped += json_number(answer, "skipped", 0);
    s->ended = !cursor || cursor->type != JSON_STRING;
    snprintf(s->cursor, sizeof(s->cursor), "%.*s", STR_ARG(json_text(answer, "cursor")));
    for (const struct json *f = failed && failed->type == JSON_ARRAY ? failed->child : NULL; f; f = f->next) {
        s->failed++;
        status_clear(cli);
        cli_say("%.*s: %.*s", STR_ARG(json_text(f, "runId")), STR_ARG(json_text(f, "code")));
    }
    if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
}

/* One page. A rerun has a key, so that it may be sent again after a lost answer like the others. */
static int fetch_page(struct cli *cli, struct client *client, const struct bulk_options *o, struct str filter,
                      struct bulk_state *s)
{
    struct strbuf body;
    struct json_writer w;
    int64_t left = o->limit ? o->limit - s->examined : LIMIT_BULK;
    strbuf_init(&body, LIMIT_BODY);
    json_writer_init(&w, &body);
    json_object_begin(&w);
    json_kv_str(&w, "action", str_of(o->action->name));
    json_kv_raw(&w, "filter", filter);
    json_kv_str_opt(&w, "cursor", str_of(s->cursor));
    json_kv_int(&w, "limit", left < LIMIT_BULK ? left : LIMIT_BULK);
    json_object_end(&w);
    struct response response;
    client_send(client,
                &(struct request){.method = "POST",
                                  .path = "/v1/runs/bulk",
                                  .body = strbuf_str(&body),
                                  .idempotency_key = o->idempotency_key,
                                  .timeout_ms = PAGE_TIME_MS,
                                  .repeatable = true},
                &response);
    struct arena arena;
    arena_init(&arena, 16U << 20);
    int status = EXIT_OK;
    const struct json *answer = response_ok(&response) ? client_json(&response, &arena, 4) : NULL;
    if (!answer)
        status_clear(cli);
    if (response.interrupted)
        status = EXIT_DETACHED;
    else if (!response_ok(&response))
        status = client_complain(client, &response);
    else if (!answer)
        status = EXIT_UNREACHABLE;
    else
        take_answer(cli, s, answer);
    arena_done(&arena);
    response_done(&response);
    strbuf_done(&body);
    return status;
}

/* Where it can be taken up again. */
static void say_rest(const struct bulk_options *o, const struct bulk_state *s)
{
    const char *key = o->idempotency_key;
    if (s->ended)
        return;
    cli_say("not all were examined; the same command with%s%s%s%s goes on", *s->cursor ? " --cursor " : "", s->cursor,
            key          ? " --idempotency-key "
            : *s->cursor ? ""
                         : "out a change",
            key ? key : "");
}

static int each_page(struct cli *cli, const struct bulk_options *o, struct str filter)
{
    struct client *client = cli_client(cli);
    struct bulk_state s = {.ended = false};
    int status = EXIT_OK;
    if (!client)
        return EXIT_USAGE;
    interrupt_begin();
    snprintf(s.cursor, sizeof(s.cursor), "%s", o->cursor ? o->cursor : "");
    while (status == EXIT_OK && !s.ended && !(o->limit && s.examined >= o->limit)) {
        status = fetch_page(cli, client, o, filter, &s);
        if (status == EXIT_OK)
            show_progress(cli, o, &s);
        if (status == EXIT_OK && !s.ended && (interrupted() || !cli_flush(cli)))
            status = EXIT_DETACHED;
    }
    status_clear(cli);
    if (status == EXIT_USAGE && s.examined == 0) /* refused as it is: there is nothing to go on with */
        return status;
    if (!cli->json)
        printf("%lld examined, %lld %s, %lld skipped, %lld failed\n", (long long)s.examined, (long long)s.done,
               o->action->done, (long long)s.skipped, (long long)s.failed);
    say_rest(o, &s);
    return status == EXIT_OK && s.failed > 0 ? EXIT_RUN_ERROR : status;
}

static const struct action *find_action(const struct command *command, const char *word)
{
    const char *names[ARRAY_LEN(actions)];
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        names[i] = actions[i].name;
        if (strcmp(word, actions[i].name) == 0)
            return &actions[i];
    }
    const char *near = nearest_word(word, names, ARRAY_LEN(names));
    (void)cli_usage_error(command, "'%s' is no action; %s%s", word,
                          near ? "did you mean " : "there are stop, rerun, delete and redrive", near ? near : "");
    return NULL;
}

static int run_bulk(struct cli *cli, const struct command *command, struct bulk_options *o)
{
    char token[44], key[64];
    if (filters_empty(&o->filters) && !o->yes)
        return cli_usage_error(
            command, "without a filter this is about every run of the workspace; --yes says that it is meant");
    if (o->cursor && (!*o->cursor || strlen(o->cursor) > 100))
        return cli_usage_error(command, "--cursor takes what an interrupted one printed");
    if (o->idempotency_key && (!*o->idempotency_key || strlen(o->idempotency_key) > LIMIT_IDEMPOTENCY_KEY ||
                               strpbrk(o->idempotency_key, " \r\n")))
        return cli_usage_error(command, "--idempotency-key is empty, too long, or has a blank");
    if (strcmp(o->action->name, "rerun") == 0 && !o->idempotency_key) {
        crypto_token(token);
        snprintf(key, sizeof(key), "cli-%s", token);
        o->idempotency_key = key;
    }
    struct strbuf filter;
    strbuf_init(&filter, 1U << 20);
    int status = EXIT_USAGE;
    if (filters_json(&filter, command, &o->filters))
        status = each_page(cli, o, strbuf_str(&filter));
    strbuf_done(&filter);
    return status;
}

int cmd_bulk(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct bulk_options b = {.limit = 0};
    struct option table[FILTER_OPTIONS + 4] = {
        [FILTER_OPTIONS] = {.name = "yes",
                            .letter = 'y',
                            .type = OPTION_FLAG,
                            .target = &b.yes,
                            .help = "every run is meant, where no filter is given"},
        [FILTER_OPTIONS + 1] = {.name = "limit",
                                .letter = 'n',
                                .type = OPTION_INT,
                                .target = &b.limit,
                                .value = "N",
                                .help = "examine at most so many runs, and say where to go on",
                                .min = 1,
                                .max = INT64_C(1000000000)},
        [FILTER_OPTIONS + 2] = {.name = "cursor",
                                .type = OPTION_STRING,
                                .target = &b.cursor,
                                .value = "CURSOR",
                                .help = "go on where an interrupted one ended"},
        [FILTER_OPTIONS + 3] = {.name = "idempotency-key",
                                .type = OPTION_STRING,
                                .target = &b.idempotency_key,
                                .value = "KEY",
                                .help = "the same key reruns no run twice, for 24 h"},
    };
    const char *word = NULL;
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = &word, .words_max = 1};
    int status;
    filters_options(&b.filters, table);
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    b.action = find_action(command, word);
    return b.action ? run_bulk(cli, command, &b) : EXIT_USAGE;
}
