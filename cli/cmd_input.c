/* errand input: lines for the standard input of a run. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/ask.h"
#include "cli/client.h"
#include "cli/ids.h"
#include "cli/output.h"
#include "common/id.h"
#include "common/json.h"
#include "common/limits.h"

struct sending {
    struct cli *cli;
    struct client *client;
    const char *id;
    bool text; /* what is sent are words, not JSON */
};

/* One request; line: NULL for none. */
static int send_one(const struct sending *s, const struct str *line, bool close)
{
    char path[128];
    struct strbuf body;
    struct json_writer w;
    struct response response;
    struct id key = id_new();
    snprintf(path, sizeof path, "/v1/runs/%s/input", s->id);
    strbuf_init(&body, 8 * (size_t)LIMIT_INPUT_LINE);
    json_writer_init(&w, &body);
    json_object_begin(&w);
    if (line && s->text)
        json_kv_str(&w, "data", *line);
    else if (line)
        json_kv_raw(&w, "data", *line);
    if (close)
        json_kv_bool(&w, "close", true);
    json_object_end(&w);
    client_send(s->client,
                &(struct request){.method = "POST", .path = path, .body = strbuf_str(&body), .idempotency_key = key.s},
                &response);
    strbuf_done(&body);
    int status = EXIT_OK;
    if (!response_ok(&response))
        status = client_complain_about(s->client, &response, s->id);
    else if (s->cli->json)
        printf("%.*s\n", STR_ARG(response.body));
    response_done(&response);
    return status;
}

static int send_line(const struct sending *s, struct str line, bool close)
{
    if (line.len > LIMIT_INPUT_LINE) {
        cli_say("a line may have at most %d bytes; this one has %zu", LIMIT_INPUT_LINE, line.len);
        return EXIT_USAGE;
    }
    if (!s->text && !json_valid(line, LIMIT_JSON_DEPTH)) {
        cli_say("a line must be one JSON value; --text sends it as a string");
        return EXIT_USAGE;
    }
    return send_one(s, &line, close);
}

/* Standard input, line by line; empty lines are passed over. */
static int send_lines(const struct sending *s, bool close)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int status = EXIT_OK;
    while (status == EXIT_OK && (n = getline(&line, &cap, stdin)) >= 0) {
        struct str one = {line, (size_t)n};
        while (one.len > 0 && (one.ptr[one.len - 1] == '\n' || one.ptr[one.len - 1] == '\r'))
            one.len--;
        if (one.len > 0)
            status = send_line(s, one, false);
    }
    free(line);
    return status == EXIT_OK && close ? send_one(s, NULL, true) : status;
}

int cmd_input(struct cli *cli, const struct command *command, int argc, char **argv)
{
    bool close = false, text = false;
    const struct option table[] = {
        {.name = "close", .type = OPTION_FLAG, .target = &close, .help = "end of file behind it"},
        {.name = "text", .type = OPTION_FLAG, .target = &text, .help = "lines are text, sent as JSON strings"},
    };
    const char *words[2];
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 2};
    int status;
    if (!cli_options(cli, command, &o, 1, argc, argv, &status))
        return status;
    if (!run_id_ok(str_of(words[0])))
        return run_id_complain(command, words[0]);
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_USAGE;
    const struct sending s = {cli, client, words[0], text};
    if (o.word_count == 2 && strcmp(words[1], "-") != 0)
        return send_line(&s, str_of(words[1]), close);
    if (o.word_count == 1 && close)
        return send_one(&s, NULL, true);
    return send_lines(&s, close);
}
