/* errand list: runs, newest first, page by page. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/filters.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/limits.h"

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
        if (cursor.len) {
            strbuf_addz(&path, "&cursor=");
            url_encode(&path, strbuf_str(&cursor));
        }
        status = fetch_page(cli, path.ptr, t, &cursor, &count);
    } while (status == EXIT_OK && cursor.len > 0 && count < limit);
    *ret_more = cursor.len > 0;
    strbuf_done(&path);
    strbuf_done(&cursor);
    return status;
}

int cmd_list(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct filters given = {.mine = false};
    int64_t limit = 20;
    struct option table[FILTER_OPTIONS + 1] = {
        [FILTER_OPTIONS] = {.name = "limit",
                            .letter = 'n',
                            .type = OPTION_INT,
                            .target = &limit,
                            .value = "N",
                            .help = "how many at most (default 20)",
                            .min = 1,
                            .max = 1000000},
    };
    filters_options(&given, table);
    struct options o = {.table = table, .count = ARRAY_LEN(table)};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    struct strbuf filters;
    strbuf_init(&filters, 32768);
    if (!filters_query(&filters, command, &given)) {
        strbuf_done(&filters);
        return EXIT_USAGE;
    }
    struct table t;
    table_init(&t, 7);
    static const char *const head[] = {"RUN", "AGENT", "STATUS", "CREATED", "TOOK", "ATTEMPT", "ERROR"};
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        table_add(&t, str_of(head[i]));
    bool more = false;
    status = fetch_pages(cli, strbuf_str(&filters), limit, &t, &more);
    if (status == EXIT_OK && !cli->json)
        table_print(&t, cli, 2);
    else
        strbuf_done(&t.cells);
    if (status == EXIT_OK && !cli->json && more)
        cli_say("there are more; --limit N shows them");
    strbuf_done(&filters);
    return status;
}
