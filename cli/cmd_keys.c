/* errand keys: API keys of a workspace. */
#include <stdlib.h>

#include "cli/ask.h"
#include "common/limits.h"
#include "common/scope.h"

struct settings {
    struct option_list scopes, agents, queues, cidrs;
    const char *rate;
    int64_t concurrency, expires_ms, overlap_ms;
};

static void row(struct table *t, const struct json *k)
{
    struct str used = json_text(k, "lastUsedAt"), expires = json_text(k, "expiresAt");
    table_add(t, json_text(k, "id"));
    table_add(t, json_text(k, "name"));
    table_add(t, json_text(k, "status"));
    ask_joined(t, json_get(k, "scopes"), "-");
    ask_joined(t, json_get(k, "agents"), "-");
    table_add(t, expires.len ? expires : STR("-"));
    table_add(t, used.len ? used : STR("-"));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"ID", "NAME", "STATUS", "SCOPES", "AGENTS", "EXPIRES", "LAST USED"};
    return ask_list(cli, &(struct listing){.path = "/v1/keys",
                                           .member = "keys",
                                           .head = head,
                                           .columns = ARRAY_LEN(head),
                                           .status_column = 2,
                                           .row = row,
                                           .pages = true});
}

static int list_scopes(struct cli *cli)
{
    static const struct {
        const char *word, *what;
        bool beyond;
    } scopes[] = {
#define SCOPE_ROW(name, word, beyond, what) {word, what, beyond},
        SCOPE_TABLE(SCOPE_ROW)
#undef SCOPE_ROW
    };
    struct table t;
    table_init(&t, 3);
    table_add(&t, STR("SCOPE"));
    table_add(&t, STR("REACHES"));
    table_add(&t, STR("ALLOWS TO"));
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++) {
        if (cli->json) {
            printf("{\"scope\":\"%s\",\"deployment\":%s,\"allows\":\"%s\"}\n", scopes[i].word,
                   scopes[i].beyond ? "true" : "false", scopes[i].what);
            continue;
        }
        table_add(&t, str_of(scopes[i].word));
        table_add(&t, str_of(scopes[i].beyond ? "deployment" : "workspace"));
        table_add(&t, str_of(scopes[i].what));
    }
    if (cli->json)
        strbuf_done(&t.cells);
    else
        table_print(&t, cli, SIZE_MAX);
    return EXIT_OK;
}

/* Words of repeated options, which may also be comma lists. */
static void write_words(struct json_writer *w, const char *key, const struct option_list *words)
{
    if (words->count == 0)
        return;
    json_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; i < words->count; i++) {
        struct str rest = str_of(words->values[i]), one;
        while (str_next_word(&rest, &one))
            json_str(w, one);
    }
    json_array_end(w);
}

/* `100/1s`, `100`: requests, and in what time (a second). False when it is neither. */
static bool write_rate(struct json_writer *w, const char *text)
{
    char *end;
    int64_t per_ms = 1000;
    if (!text)
        return true;
    long long limit = strtoll(text, &end, 10);
    if (end == text || limit < 1 || (*end && *end != '/') || (*end == '/' && !duration_parse(end + 1, &per_ms)))
        return false;
    json_key(w, "rateLimit");
    json_object_begin(w);
    json_kv_int(w, "limit", limit);
    json_kv_int(w, "perMs", per_ms);
    json_kv_int(w, "burst", limit);
    json_object_end(w);
    return true;
}

static void show_made(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
    if (cli->json) {
        printf("%.*s\n", STR_ARG(answer->raw));
        return;
    }
    printf("%.*s\n", STR_ARG(json_text(answer, "key")));
    fprintf(stderr, "This is the whole key %.*s. It is shown this once: keep it where secrets are kept.\n",
            STR_ARG(json_text(answer, "id")));
}

static int create(struct cli *cli, const struct command *command, const char *name, const struct settings *s)
{
    struct strbuf body;
    struct json_writer w;
    strbuf_init(&body, 65536);
    json_writer_init(&w, &body);
    json_object_begin(&w);
    json_kv_str(&w, "name", str_of(name));
    write_words(&w, "scopes", &s->scopes);
    write_words(&w, "agents", &s->agents);
    write_words(&w, "queues", &s->queues);
    write_words(&w, "cidrs", &s->cidrs);
    bool rate = write_rate(&w, s->rate);
    if (s->concurrency > 0)
        json_kv_int(&w, "concurrency", s->concurrency);
    if (s->expires_ms > 0)
        json_kv_int(&w, "expiresInMs", s->expires_ms);
    json_object_end(&w);
    int status = EXIT_USAGE;
    if (rate)
        status =
            ask(cli, &(struct question){"POST", "/v1/keys", "", "", strbuf_str(&body), NULL, true}, show_made, NULL);
    else
        cli_usage_error(command, "--rate is REQUESTS or REQUESTS/TIME, for example 100/1m");
    strbuf_done(&body);
    return status;
}

static int rotate(struct cli *cli, const char *id, int64_t overlap_ms)
{
    struct strbuf body;
    strbuf_init(&body, 256);
    strbuf_addf(&body, "{\"overlapMs\":%lld}", (long long)overlap_ms);
    int status = ask(cli, &(struct question){"POST", "/v1/keys/", id, "/rotate", strbuf_str(&body), NULL, true},
                     show_made, NULL);
    strbuf_done(&body);
    return status;
}

enum { LIST, SHOW, CREATE, ROTATE, REVOKE, SCOPES, WHOAMI, VERBS };

int cmd_keys(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct settings s = {.overlap_ms = 86400000};
    const struct option table[] = {
        {"scope", 's', OPTION_LIST, &s.scopes, "SCOPE",
         "create: what it may do; '*' for all of its workspace (repeat, or a comma list)", 0, 0},
        {"agent", 'a', OPTION_LIST, &s.agents, "NAME", "create: for this agent only (repeat)", 0, 0},
        {"queue", 'q', OPTION_LIST, &s.queues, "NAME", "create: for this queue only (repeat)", 0, 0},
        {"cidr", 0, OPTION_LIST, &s.cidrs, "NET", "create: from this address or network only (repeat)", 0, 0},
        {"rate", 0, OPTION_STRING, &s.rate, "N/TIME", "create: requests it may make, for example 100/1s", 0, 0},
        {"concurrency", 0, OPTION_INT, &s.concurrency, "N", "create: its runs executed at a time", 1,
         LIMIT_CONCURRENCY},
        {"expires", 0, OPTION_DURATION, &s.expires_ms, "TIME", "create: ends after this time (default: never)", 1,
         INT64_C(31536000000)},
        {"overlap", 0, OPTION_DURATION, &s.overlap_ms, "TIME",
         "rotate: how long the former secret stays valid (default 1d)", 0, LIMIT_KEY_OVERLAP_MS},
    };
    const char *words[2] = {0};
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[VERBS] = {"list", "show", "create", "rotate", "revoke", "scopes", "whoami"};
    size_t verb = ask_verb(command, words[0] ? words[0] : "list", verbs, VERBS);
    if (verb == VERBS)
        return EXIT_USAGE;
    bool named = verb != LIST && verb != SCOPES && verb != WHOAMI;
    if (named != (words[1] != NULL))
        return words[1] ? cli_usage_error(command, "unexpected '%s'", words[1])
                        : cli_usage_error(command, verb == CREATE ? "create needs a NAME" : "%s needs the ID of a key",
                                          words[0]);
    if (verb == CREATE && s.scopes.count == 0)
        return cli_usage_error(command, "create needs at least one --scope; 'errand keys scopes' lists them");
    if (verb == LIST)
        return list(cli);
    if (verb == SCOPES)
        return list_scopes(cli);
    if (verb == CREATE)
        return create(cli, command, words[1], &s);
    if (verb == ROTATE)
        return rotate(cli, words[1], s.overlap_ms);
    if (verb == WHOAMI)
        return ask(cli, &(struct question){.method = "GET", .prefix = "/v1/whoami", .name = ""}, ask_print, NULL);
    struct question q = {.method = verb == SHOW ? "GET" : "DELETE", .prefix = "/v1/keys/", .name = words[1]};
    status = ask(cli, &q, verb == SHOW ? ask_print : NULL, NULL);
    if (verb == REVOKE && status == EXIT_OK)
        printf(cli->json ? "{\"revoked\":true}\n" : "%s is revoked\n", words[1]);
    return status;
}
