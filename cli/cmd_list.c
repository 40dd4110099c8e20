/* errand list: runs, newest first, page by page. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/limits.h"

struct list_options {
    const char *agent, *since, *until;
    struct option_list statuses, labels;
    int64_t limit;
    bool mine;
};

static void add_parameter(struct strbuf *path, const char *name, struct str value)
{
    strbuf_addf(path, "&%s=", name);
    url_encode(path, value);
}

/* A time as the API takes it: written out, or how long ago. */
static bool add_time(struct strbuf *path, const struct command *command, const char *name, const char *given)
{
    int64_t ms;
    if (!given)
        return true;
    if (duration_parse(given, &ms)) {
        ms = clock_wall_ms() - ms;
    } else if (!clock_parse_iso(str_of(given), &ms)) {
        (void)cli_usage_error(command, "--%s takes a time like 2026-01-31T12:00:00Z, or how long ago: 90s, 24h, 7d",
                              name);
        return false;
    }
    char iso[CLOCK_ISO_LEN + 1];
    clock_iso(ms, iso);
    add_parameter(path, name, str_of(iso));
    return true;
}

static bool write_filters(struct strbuf *path, const struct command *command, const struct list_options *l)
{
    if (l->agent)
        add_parameter(path, "agent", str_of(l->agent));
    for (size_t i = 0; i < l->statuses.count; i++)
        add_parameter(path, "status", str_of(l->statuses.values[i]));
    for (size_t i = 0; i < l->labels.count; i++) {
        /* On the command line a label is written as where it is set: NAME=VALUE. */
        char text[2 * LIMIT_LABEL_BYTES + 8];
        snprintf(text, sizeof(text), "%s", l->labels.values[i]);
        char *equals = strchr(text, '=');
        if (!equals) {
            (void)cli_usage_error(command, "--label takes NAME=VALUE, not '%s'", l->labels.values[i]);
            return false;
        }
        *equals = ':';
        add_parameter(path, "label", str_of(text));
    }
    if (l->mine)
        add_parameter(path, "createdBy", STR("me"));
    return add_time(path, command, "since", l->since) && add_time(path, command, "until", l->until);
}

static void add_row(struct table *t, const struct json *run, int64_t now_ms)
{
    struct strbuf text;
    strbuf_init(&text, 4096);
    int64_t created = json_time(run, "createdAt"), started = json_time(run, "startedAt"),
            completed = json_time(run, "completedAt");
    table_add(t, json_text(run, "runId"));
    table_add(t, json_text(run, "agent"));
    table_add(t, json_text(run, "status"));
    age_write(&text, created, now_ms);
    table_add(t, strbuf_str(&text));
    strbuf_reset(&text);
    if (started)
        duration_write(&text, (completed ? completed : now_ms) - started);
    table_add(t, strbuf_str(&text));
    table_addf(t, "%lld", (long long)json_number(run, "attempt", 0));
    strbuf_reset(&text);
    safe_line(&text, json_text(json_get(run, "error"), "class"), 40, true);
    table_add(t, strbuf_str(&text));
    strbuf_done(&text);
}

/* One page. Puts the next cursor into cursor ("" at the end), raises *count. */
static int fetch_page(struct cli *cli, const char *path, struct table *t, struct strbuf *cursor, int64_t *count)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct response response;
    client_send(client, &(struct request){.method = "GET", .path = path}, &response);
    int status = EXIT_OK;
    strbuf_reset(cursor);
    if (!response_ok(&response)) {
        status = client_complain(client, &response);
    } else {
        struct arena arena;
        arena_init(&arena, 256U << 20);
        const struct json *answer = client_json(&response, &arena, 5), *runs = json_get(answer, "runs");
        int64_t now_ms = clock_wall_ms();
        for (const struct json *r = runs && runs->type == JSON_ARRAY ? runs->child : NULL; r; r = r->next, ++*count) {
            if (cli->json)
                printf("%.*s\n", (int)r->raw.len, r->raw.ptr);
            else
                add_row(t, r, now_ms);
        }
        strbuf_add(cursor, json_text(answer, "cursor"));
        if (!answer)
            status = EXIT_UNREACHABLE;
        arena_done(&arena);
    }
    response_done(&response);
    return status;
}

static int fetch_pages(struct cli *cli, struct str filters, int64_t limit, struct table *t, bool *ret_more)
{
    struct strbuf path, cursor;
    strbuf_init(&path, 65536);
    strbuf_init(&cursor, 4096);
    int64_t count = 0;
    int status;
    do {
        int64_t left = limit - count;
        strbuf_reset(&path);
        strbuf_addf(&path, "/v1/runs?limit=%lld", (long long)(left > LIMIT_PAGE ? LIMIT_PAGE : left));
        strbuf_add(&path, filters);
        if (cursor.len)
            add_parameter(&path, "cursor", strbuf_str(&cursor));
        status = fetch_page(cli, path.ptr, t, &cursor, &count);
    } while (status == EXIT_OK && cursor.len > 0 && count < limit);
    *ret_more = cursor.len > 0;
    strbuf_done(&path);
    strbuf_done(&cursor);
    return status;
}

int cmd_list(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct list_options l = {.limit = 20};
    const struct option table[] = {
        {.name = "agent",
         .letter = 'a',
         .type = OPTION_STRING,
         .target = &l.agent,
         .value = "NAME",
         .help = "only this agent's"},
        {.name = "status",
         .letter = 's',
         .type = OPTION_LIST,
         .target = &l.statuses,
         .value = "STATUS",
         .help = "only with this status; may be repeated"},
        {.name = "label",
         .letter = 'l',
         .type = OPTION_LIST,
         .target = &l.labels,
         .value = "NAME=VALUE",
         .help = "only with this label; may be repeated"},
        {.name = "mine", .type = OPTION_FLAG, .target = &l.mine, .help = "only those submitted with the key in use"},
        {.name = "since",
         .type = OPTION_STRING,
         .target = &l.since,
         .value = "TIME",
         .help = "created at or after: a time, or how long ago (24h)"},
        {.name = "until", .type = OPTION_STRING, .target = &l.until, .value = "TIME", .help = "created before"},
        {.name = "limit",
         .letter = 'n',
         .type = OPTION_INT,
         .target = &l.limit,
         .value = "N",
         .help = "how many at most (default 20)",
         .min = 1,
         .max = 1000000},
    };
    struct options o = {.table = table, .count = ARRAY_LEN(table)};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    struct strbuf filters;
    strbuf_init(&filters, 32768);
    if (!write_filters(&filters, command, &l)) {
        strbuf_done(&filters);
        return EXIT_USAGE;
    }
    struct table t;
    table_init(&t, 7);
    static const char *const head[] = {"RUN", "AGENT", "STATUS", "CREATED", "TOOK", "ATTEMPT", "ERROR"};
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        table_add(&t, str_of(head[i]));
    bool more = false;
    status = fetch_pages(cli, strbuf_str(&filters), l.limit, &t, &more);
    if (status == EXIT_OK && !cli->json)
        table_print(&t, cli, 2);
    else
        strbuf_done(&t.cells);
    if (status == EXIT_OK && !cli->json && more)
        cli_say("there are more; --limit N shows them");
    strbuf_done(&filters);
    return status;
}
