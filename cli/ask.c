#include "cli/ask.h"

#include <unistd.h>

enum {
    EXPANDED = 130,
    LIST_EXPANDED = 8
}; /* levels of an answer that get a tree; definitions and results are shown indented */

int ask(struct cli *cli, const struct question *q, void (*fn)(struct cli *cli, void *ctx, const struct json *answer),
        void *ctx)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct strbuf path;
    strbuf_init(&path, 8192);
    strbuf_addz(&path, q->prefix);
    url_encode(&path, str_of(q->name));
    strbuf_addz(&path, q->suffix ? q->suffix : "");
    struct response response;
    client_send(client,
                &(struct request){.method = q->method,
                                  .path = path.ptr,
                                  .body = q->body,
                                  .idempotency_key = q->idempotency_key,
                                  .repeatable = !q->once},
                &response);
    int status = EXIT_OK;
    if (!response_ok(&response)) {
        status = client_complain(client, &response);
    } else if (fn && response.body.len) {
        struct arena arena;
        arena_init(&arena, 64U << 20);
        const struct json *answer = client_json(&response, &arena, EXPANDED);
        if (answer)
            fn(cli, ctx, answer);
        else
            status = EXIT_UNREACHABLE;
        arena_done(&arena);
    }
    response_done(&response);
    strbuf_done(&path);
    return status;
}

void ask_print(struct cli *cli, void *ctx, const struct json *answer)
{
    struct strbuf out, safe;
    (void)ctx;
    strbuf_init(&out, 4U << 20);
    strbuf_init(&safe, 8U << 20);
    if (cli->json)
        strbuf_add(&out, answer->raw);
    else
        json_pretty(&out, answer, 0);
    safe_text(&safe, strbuf_str(&out), true, isatty(STDOUT_FILENO));
    printf("%s\n", safe.ptr ? safe.ptr : "");
    strbuf_done(&out);
    strbuf_done(&safe);
}

/* One page behind the name in after, which then gets the next page's ("" at the end). */
static int list_page(struct cli *cli, struct client *client, const struct listing *l, struct strbuf *after,
                     struct table *t)
{
    struct strbuf path;
    struct response response;
    struct arena arena;
    strbuf_init(&path, 4096);
    arena_init(&arena, 64U << 20);
    strbuf_addz(&path, l->path);
    if (after->len) {
        strbuf_addz(&path, strchr(l->path, '?') ? "&after=" : "?after=");
        url_encode(&path, strbuf_str(after));
    }
    client_send(client, &(struct request){.method = "GET", .path = path.ptr}, &response);
    int status = response_ok(&response) ? EXIT_OK : client_complain(client, &response);
    const struct json *answer = status == EXIT_OK ? client_json(&response, &arena, LIST_EXPANDED) : NULL;
    const struct json *list = json_get(answer, l->member);
    if (status == EXIT_OK && !answer)
        status = EXIT_UNREACHABLE;
    strbuf_reset(after);
    for (const struct json *e = list && list->type == JSON_ARRAY ? list->child : NULL; e; e = e->next) {
        if (cli->json)
            printf("%.*s\n", STR_ARG(e->raw));
        else
            l->row(t, e);
    }
    if (l->pages)
        strbuf_add(after, json_text(answer, "cursor"));
    arena_done(&arena);
    response_done(&response);
    strbuf_done(&path);
    return status;
}

int ask_list(struct cli *cli, const struct listing *l)
{
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    struct strbuf after;
    struct table t;
    strbuf_init(&after, 1024);
    table_init(&t, l->columns);
    for (size_t i = 0; i < l->columns; i++)
        table_add(&t, str_of(l->head[i]));
    int status;
    do
        status = list_page(cli, client, l, &after, &t);
    while (status == EXIT_OK && after.len > 0);
    if (status == EXIT_OK && !cli->json)
        table_print(&t, cli, l->status_column);
    else
        strbuf_done(&t.cells);
    strbuf_done(&after);
    return status;
}

size_t ask_verb(const struct command *command, const char *word, const char *const *verbs, size_t count)
{
    size_t i = 0;
    while (i < count && strcmp(word, verbs[i]) != 0)
        i++;
    if (i == count) {
        const char *near = nearest_word(word, verbs, count);
        (void)cli_usage_error(command, "unknown '%s'%s%s", word, near ? "; did you mean " : "", near ? near : "");
    }
    return i;
}

void ask_joined(struct table *t, const struct json *array, const char *none)
{
    struct strbuf out;
    strbuf_init(&out, 65536);
    for (const struct json *e = array && array->type == JSON_ARRAY ? array->child : NULL; e; e = e->next) {
        strbuf_add(&out, e->type == JSON_STRING ? e->string : e->raw);
        if (e->next)
            strbuf_addz(&out, ", ");
    }
    table_add(t, out.len ? strbuf_str(&out) : str_of(none));
    strbuf_done(&out);
}
