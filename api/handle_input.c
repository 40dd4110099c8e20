/* POST /v1/runs/{id}/input: a line for the standard input of a run that is executed, or will be. */
#include "api/audit.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "api/submit.h"
#include "api/validate_fields.h"

struct input_call {
    struct call *call;
    struct shard *shard;
    struct str line; /* raw JSON; empty for none */
    bool close;
    struct str idem;
    char digest[65];
};

static const struct field input_fields[] = {
    {"data", take_raw, offsetof(struct input_call, line), 0, 0},
    {"close", take_bool, offsetof(struct input_call, close), 0, 0},
};

static void on_input(void *ctx, enum err err, const struct script_input_reply *reply)
{
    struct input_call *in = ctx;
    struct call *c = in->call;
    struct strbuf out;
    struct json_writer w;
    if (err) {
        call_problem(c, err,
                     err == ERR_INPUT_CLOSED
                         ? "its agent's definition does not say \"stdin\": \"open\", or its input was closed"
                     : err == ERR_LIMIT_EXCEEDED ? call_text(c, "a run takes at most %d lines, and %d bytes of them",
                                                             LIMIT_INPUT_LINES, LIMIT_INPUT_BYTES)
                                                 : NULL);
        return;
    }
    if (reply->duplicate)
        http_reply_header(c->req, "Idempotency-Replayed", STR("true"));
    strbuf_init(&out, 1024);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "runId", call_param(c, 0));
    json_kv_int(&w, "n", reply->n);
    json_kv_str(&w, "status", reply->status);
    json_object_end(&w);
    call_json(c, 202, &out);
}

static void send_input(struct call *c)
{
    struct input_call *in = c->user;
    struct script_input_args args = {.ws = c->workspace,
                                     .run = call_param(c, 0),
                                     .line = in->line,
                                     .last = in->close,
                                     .idem = in->idem,
                                     .digest = str_of(in->digest),
                                     .max_lines = LIMIT_INPUT_LINES,
                                     .max_bytes = LIMIT_INPUT_BYTES};
    script_call_input(in->shard->commands, shard_prefix(in->shard), &args, on_input, in);
}

void handle_input(struct call *c)
{
    struct input_call *in = arena_zalloc(&c->req->arena, sizeof *in);
    const struct json *root = NULL;
    struct fault fault = {ERR_NO_MEMORY, NULL};
    if (!in) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    *in = (struct input_call){.call = c, .line = STR("")};
    struct check check = {&c->req->arena, "", &fault};
    bool ok =
        validate_body(&c->req->arena, c->req->body, &root, &fault) &&
        (root->type == JSON_OBJECT ||
         refuse(&check, ERR_INVALID_FIELD, "the body must be {\"data\": …}, {\"close\": true}, or both")) &&
        take_object(&check, root, input_fields, ARRAY_LEN(input_fields), in) &&
        submit_idempotency(c, call_text(c, "input %.*s", STR_ARG(call_param(c, 0))), &in->idem, in->digest, &fault);
    if (ok && in->line.len == 0 && !in->close)
        ok = refuse(&check, ERR_MISSING_FIELD,
                    "data is required (the JSON value that the agent reads as a line), or close");
    if (ok && in->line.len > LIMIT_INPUT_LINE)
        ok = refuse(&check, ERR_INVALID_FIELD, "data must be at most %d bytes", LIMIT_INPUT_LINE);
    if (!ok) {
        call_problem(c, fault.err, fault.detail);
        return;
    }
    in->shard = node_shard_of_run(c->node, call_param(c, 0));
    c->user = in;
    if (in->shard)
        audit_then(c, call_param(c, 0), send_input);
    else
        call_problem(c, ERR_RUN_NOT_FOUND, NULL);
}
