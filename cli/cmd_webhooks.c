/* errand webhooks: who is told of the ends of runs, and of what happens in them. */
#include <stdlib.h>

#include "cli/ask.h"
#include "common/limits.h"

struct hook_options {
    const char *url, *events, *agents, *description;
    int64_t overlap_ms; /* -1: not given */
    bool enable, disable;
};

/* id: NULL for all of them. */
static int call(struct cli *cli, const char *method, const char *id, const char *suffix, struct str body,
                void (*fn)(struct cli *cli, void *ctx, const struct json *answer), void *ctx)
{
    const struct question q = {.method = method,
                               .prefix = id ? "/v1/webhooks/" : "/v1/webhooks",
                               .name = id ? id : "",
                               .suffix = suffix,
                               .body = body,
                               /* Twice would be two webhooks, two pings, or a secret that nobody saw. */
                               .once = strcmp(method, "POST") == 0};
    return ask(cli, &q, fn, ctx);
}

/* A new webhook, or a new secret: what is shown once. */
static void print_secret(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
    if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
    else
        printf("%.*s\n%.*s\n", STR_ARG(json_text(answer, "id")), STR_ARG(json_text(answer, "secret")));
}

static void print_delivery(struct cli *cli, void *ctx, const struct json *answer)
{
    (void)ctx;
    if (cli->json)
        printf("%.*s\n", (int)answer->raw.len, answer->raw.ptr);
    else
        printf("%.*s\n", STR_ARG(json_text(answer, "deliveryId")));
}

/* ---- lists ---- */

static void add_hook(struct table *t, const struct json *h)
{
    const struct json *enabled = json_get(h, "enabled");
    bool on = enabled && enabled->boolean;
    struct str reason = json_text(h, "disabledReason");
    table_add(t, json_text(h, "id"));
    table_add(t, json_text(h, "url"));
    ask_joined(t, json_get(h, "events"), "");
    ask_joined(t, json_get(h, "agents"), "all");
    table_add(t, on               ? json_number(h, "failures", 0) > 0 ? STR("failing") : STR("on")
                               : reason.len > 0 ? reason
                                  : STR("off"));
}

static int list(struct cli *cli)
{
    static const char *const head[] = {"WEBHOOK", "URL", "EVENTS", "AGENTS", "STATE"};
    static const struct listing hooks = {.path = "/v1/webhooks",
                                         .member = "webhooks",
                                         .head = head,
                                         .columns = ARRAY_LEN(head),
                                         .status_column = SIZE_MAX,
                                         .row = add_hook};
    return ask_list(cli, &hooks);
}

static void add_delivery(struct table *t, const struct json *d)
{
    int64_t status = json_number(d, "lastStatus", 0);
    table_add(t, json_text(d, "id"));
    table_add(t, json_text(d, "type"));
    table_add(t, json_text(d, "status"));
    table_addf(t, "%lld", (long long)json_number(d, "attempts", 0));
    if (status > 0)
        table_addf(t, "%lld", (long long)status);
    else
        table_add(t, json_text(d, "lastError"));
    table_add(t, json_text(d, "nextAttemptAt"));
    table_add(t, json_text(d, "createdAt"));
}

/* The newest page: the API has the others. */
static int deliveries(struct cli *cli, const char *id)
{
    static const char *const head[] = {"DELIVERY", "TYPE", "STATUS", "ATTEMPTS", "LAST", "NEXT", "CREATED"};
    struct strbuf path;
    strbuf_init(&path, 4096);
    strbuf_addz(&path, "/v1/webhooks/");
    url_encode(&path, str_of(id));
    strbuf_addz(&path, "/deliveries");
    const struct listing l = {.path = path.ptr ? path.ptr : "",
                              .member = "deliveries",
                              .head = head,
                              .columns = ARRAY_LEN(head),
                              .status_column = SIZE_MAX,
                              .row = add_delivery};
    int status = ask_list(cli, &l);
    strbuf_done(&path);
    return status;
}

/* ---- add and update ---- */

static void write_words(struct json_writer *w, const char *key, const char *list)
{
    struct str rest = str_of(list), word;
    json_key(w, key);
    json_array_begin(w);
    while (str_next_word(&rest, &word))
        json_str(w, word);
    json_array_end(w);
}

/* What the options say; what they don't, as it is (was: NULL for a new one). */
static void write_hook(const struct hook_options *o, const struct json *was, struct strbuf *out)
{
    static const char *const kept[] = {"url", "events", "agents", "description", "enabled"};
    const bool given[] = {o->url != NULL, o->events != NULL, o->agents != NULL, o->description != NULL,
                          o->enable || o->disable};
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str_opt(&w, "url", str_of(o->url));
    if (o->events)
        write_words(&w, "events", o->events);
    if (o->agents)
        write_words(&w, "agents", o->agents);
    json_kv_str_opt(&w, "description", str_of(o->description));
    if (o->enable || o->disable)
        json_kv_bool(&w, "enabled", o->enable);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const struct json *v = json_get(was, kept[i]);
        if (v && !given[i])
            json_kv_raw(&w, kept[i], v->raw);
    }
    json_object_end(&w);
}

struct change {
    const struct hook_options *options;
    struct strbuf body;
};

static void take_what_is(struct cli *cli, void *ctx, const struct json *answer)
{
    struct change *c = ctx;
    (void)cli;
    write_hook(c->options, answer, &c->body);
}

static int add(struct cli *cli, const struct hook_options *o)
{
    struct strbuf body;
    strbuf_init(&body, LIMIT_BODY);
    write_hook(o, NULL, &body);
    int status = call(cli, "POST", NULL, "", strbuf_str(&body), print_secret, NULL);
    strbuf_done(&body);
    return status;
}

static int update(struct cli *cli, const char *id, const struct hook_options *o)
{
    struct change c = {.options = o};
    strbuf_init(&c.body, LIMIT_BODY);
    int status = call(cli, "GET", id, "", STR_NONE, take_what_is, &c);
    if (status == EXIT_OK)
        status = call(cli, "PUT", id, "", strbuf_str(&c.body), ask_print, NULL);
    strbuf_done(&c.body);
    return status;
}

/* ---- the command ---- */

static int rotate(struct cli *cli, const char *id, int64_t overlap_ms)
{
    char body[64] = "{}";
    if (overlap_ms >= 0)
        snprintf(body, sizeof body, "{\"overlapMs\":%lld}", (long long)overlap_ms);
    return call(cli, "POST", id, "/rotate", str_of(body), print_secret, NULL);
}

static int resend(struct cli *cli, const char *id, const char *delivery)
{
    struct strbuf suffix;
    strbuf_init(&suffix, 4096);
    strbuf_addz(&suffix, "/deliveries/");
    url_encode(&suffix, str_of(delivery));
    strbuf_addz(&suffix, "/resend");
    int status = call(cli, "POST", id, suffix.ptr ? suffix.ptr : "", STR_NONE, print_delivery, NULL);
    strbuf_done(&suffix);
    return status;
}

static int delete_one(struct cli *cli, const char *id)
{
    int status = call(cli, "DELETE", id, "", STR_NONE, NULL, NULL);
    if (status == EXIT_OK && cli->json)
        printf("{\"deleted\":true}\n");
    else if (status == EXIT_OK)
        printf("%s deleted\n", id);
    return status;
}

static int one(struct cli *cli, const char *verb, const char *id, const struct hook_options *o)
{
    if (strcmp(verb, "show") == 0)
        return call(cli, "GET", id, "", STR_NONE, ask_print, NULL);
    if (strcmp(verb, "update") == 0)
        return update(cli, id, o);
    if (strcmp(verb, "rotate") == 0)
        return rotate(cli, id, o->overlap_ms);
    if (strcmp(verb, "deliveries") == 0)
        return deliveries(cli, id);
    if (strcmp(verb, "test") == 0)
        return call(cli, "POST", id, "/test", STR_NONE, print_delivery, NULL);
    return delete_one(cli, id);
}

static bool settings_given(const struct hook_options *o)
{
    return o->url || o->events || o->agents || o->description || o->enable || o->disable;
}

/* What of the options goes with the verb; NULL when all does. */
static const char *misfit(const char *verb, const struct hook_options *o)
{
    bool adds = strcmp(verb, "add") == 0, updates = strcmp(verb, "update") == 0;
    if (adds && (!o->url || !o->events))
        return "add needs --url and --events";
    if (updates && !settings_given(o))
        return "update needs an option that says what to change";
    if (!adds && !updates && settings_given(o))
        return "these options are for add and update";
    if (o->enable && o->disable)
        return "--enable and --disable exclude each other";
    return o->overlap_ms >= 0 && strcmp(verb, "rotate") != 0 ? "--overlap is for rotate" : NULL;
}

int cmd_webhooks(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct hook_options p = {.overlap_ms = -1};
    const struct option table[] = {
        {.name = "url", .type = OPTION_STRING, .target = &p.url, .value = "URL", .help = "add, update: where to"},
        {.name = "events",
         .type = OPTION_STRING,
         .target = &p.events,
         .value = "LIST",
         .help = "add, update: of what, as run.error,run.stopped,event.notification"},
        {.name = "agents",
         .type = OPTION_STRING,
         .target = &p.agents,
         .value = "LIST",
         .help = "add, update: only of these agents' runs (\"\": of all)"},
        {.name = "description",
         .type = OPTION_STRING,
         .target = &p.description,
         .value = "TEXT",
         .help = "add, update"},
        {.name = "enable", .type = OPTION_FLAG, .target = &p.enable, .help = "update: deliver (again)"},
        {.name = "disable", .type = OPTION_FLAG, .target = &p.disable, .help = "add, update: deliver nothing"},
        {.name = "overlap",
         .type = OPTION_DURATION,
         .target = &p.overlap_ms,
         .value = "TIME",
         .help = "rotate: how long the old secret signs too (default: 24h)",
         .min = 0,
         .max = LIMIT_WEBHOOK_OVERLAP_MS},
    };
    const char *words[3] = {0};
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 3};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    static const char *const verbs[] = {"list",   "add",        "show", "update", "delete",
                                        "rotate", "deliveries", "test", "resend"};
    const char *verb = words[0] ? words[0] : "list";
    if (ask_verb(command, verb, verbs, ARRAY_LEN(verbs)) == ARRAY_LEN(verbs))
        return EXIT_USAGE;
    bool again = strcmp(verb, "resend") == 0, alone = strcmp(verb, "list") == 0 || strcmp(verb, "add") == 0;
    size_t wanted = again ? 2 : alone ? 0 : 1, have = words[2] ? 2 : words[1] ? 1 : 0;
    if (have > wanted)
        return cli_usage_error(command, "unexpected '%s'", words[wanted + 1]);
    if (have < wanted)
        return cli_usage_error(command, "%s needs %s", verb, again ? "an ID and a DELIVERY" : "an ID");
    const char *wrong = misfit(verb, &p);
    if (wrong)
        return cli_usage_error(command, "%s", wrong);
    if (again)
        return resend(cli, words[1], words[2]);
    return strcmp(verb, "list") == 0  ? list(cli)
           : strcmp(verb, "add") == 0 ? add(cli, &p)
                                      : one(cli, verb, words[1], &p);
}
