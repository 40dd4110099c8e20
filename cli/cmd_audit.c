/* errand audit: who did what; the log as a file; and whether it is what it was. */
#include <errno.h>
#include <inttypes.h>

#include "cli/ask.h"
#include "cli/chain_verify.h"
#include "cli/filters.h"
#include "common/clock.h"

enum { DAY_MS = 86400000, IDLE_MS = 60000 };

struct audit_call {
    struct cli *cli;
    const struct command *command;
    const char *since, *until, *who, *what, *file, *expect;
};

/* The range as query parameters. False after a complaint. */
static bool add_range(struct strbuf *path, const struct audit_call *a)
{
    const struct {
        const char *name, *value;
        bool time;
    } rows[] = {{"since", a->since, true}, {"until", a->until, true}, {"who", a->who, false}, {"what", a->what, false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char iso[CLOCK_ISO_LEN + 1];
        const char *value = rows[i].value;
        if (!value)
            continue;
        if (rows[i].time && !filters_time(a->command, rows[i].name, value, iso))
            return false;
        strbuf_addf(path, "&%s=", rows[i].name);
        url_encode(path, str_of(rows[i].time ? iso : value));
    }
    return true;
}

/* ---- list ---- */

/* Text of a log goes to a terminal: without control characters. */
static void print_field(const char *before, struct str text, const char *otherwise)
{
    struct strbuf safe;
    strbuf_init(&safe, 8192);
    safe_line(&safe, text, 300, true);
    printf("%s%s", before, safe.len > 0 ? safe.ptr : otherwise);
    strbuf_done(&safe);
}

static void print_entry(const struct json *e)
{
    const struct json *detail = json_get(e, "detail");
    printf("%6" PRId64, json_number(e, "n", 0));
    print_field("  ", json_text(e, "at"), "-");
    print_field("  ", json_text(e, "who"), "-");
    print_field("  ", json_text(e, "from"), "-");
    print_field("  ", json_text(e, "what"), "-");
    print_field(" ", json_text(e, "object"), "");
    if (json_text(e, "outcome").len > 0)
        print_field("  refused: ", json_text(e, "outcome"), "");
    if (detail)
        print_field("  ", detail->raw, "");
    printf("\n");
}

static int list_page(struct audit_call *a, const char *path, struct strbuf *after)
{
    struct client *client = cli_client(a->cli);
    if (!client)
        return EXIT_USAGE;
    struct response response;
    struct arena arena;
    arena_init(&arena, 64U << 20);
    client_send(client, &(struct request){.method = "GET", .path = path}, &response);
    int status = response_ok(&response) ? EXIT_OK : client_complain(client, &response);
    const struct json *answer = status == EXIT_OK ? client_json(&response, &arena, 4) : NULL;
    const struct json *entries = json_get(answer, "entries");
    if (status == EXIT_OK && !answer)
        status = EXIT_UNREACHABLE;
    for (const struct json *e = entries && entries->type == JSON_ARRAY ? entries->child : NULL; e; e = e->next) {
        if (a->cli->json)
            printf("%.*s\n", STR_ARG(e->raw));
        else
            print_entry(e);
    }
    strbuf_reset(after);
    strbuf_add(after, json_text(answer, "cursor"));
    arena_done(&arena);
    response_done(&response);
    return status;
}

static int list(struct audit_call *a)
{
    struct strbuf path, after;
    int status;
    strbuf_init(&path, 16384);
    strbuf_init(&after, 128);
    a->since = a->since ? a->since : "24h";
    do {
        strbuf_reset(&path);
        strbuf_addf(&path, "/v1/audit?limit=%d", LIMIT_PAGE);
        if (after.len > 0)
            strbuf_addf(&path, "&after=%s", after.ptr);
        status = add_range(&path, a) ? list_page(a, path.ptr, &after) : EXIT_USAGE;
    } while (status == EXIT_OK && after.len > 0);
    strbuf_done(&path);
    strbuf_done(&after);
    return status;
}

/* ---- the export, and what is done with it ---- */

/* Gives all bytes of the export to fn. The answer's status in *ret_status, 0 when it broke off (said already). */
static int fetch(struct audit_call *a, bool (*fn)(void *ctx, struct str bytes), void *ctx)
{
    struct client *client = cli_client(a->cli);
    struct strbuf path;
    struct response response;
    if (!client)
        return EXIT_USAGE;
    strbuf_init(&path, 16384);
    strbuf_addz(&path, "/v1/audit?format=ndjson");
    int status = EXIT_USAGE;
    if (add_range(&path, a)) {
        client_stream(client, &(struct stream_request){.path = path.ptr, .idle_ms = IDLE_MS, .fn = fn, .ctx = ctx},
                      &response);
        status = response_ok(&response) && !response.interrupted ? EXIT_OK : client_complain(client, &response);
        response_done(&response);
    }
    strbuf_done(&path);
    return status;
}

/* Splits bytes into lines. */
struct lines {
    struct strbuf rest;
    struct chain_verify *verify; /* NULL: they are printed */
    char last[64];               /* how the last line begins */
    bool stopped;                /* the rest does not matter any more */
};

static bool on_line(struct lines *l, struct str line)
{
    size_t n = line.len < sizeof l->last - 1 ? line.len : sizeof l->last - 1;
    memcpy(l->last, line.ptr, n);
    l->last[n] = 0;
    if (l->verify)
        return chain_verify_line(l->verify, line);
    return fwrite(line.ptr, 1, line.len, stdout) == line.len && fputc('\n', stdout) == '\n';
}

static bool on_bytes(void *ctx, struct str bytes)
{
    struct lines *l = ctx;
    while (bytes.len > 0 && !l->stopped) {
        const char *newline = memchr(bytes.ptr, '\n', bytes.len);
        size_t n = newline ? (size_t)(newline - bytes.ptr) : bytes.len;
        strbuf_add(&l->rest, (struct str){bytes.ptr, n});
        n += newline ? 1 : 0;
        bytes.ptr += n;
        bytes.len -= n;
        if (!newline && !strbuf_failed(&l->rest))
            break;
        struct str line = strbuf_str(&l->rest);
        /* One that is longer than any of a log is none. */
        l->stopped = !on_line(l, strbuf_failed(&l->rest) ? STR("too long") : line);
        strbuf_reset(&l->rest);
    }
    return !l->stopped;
}

static int export(struct audit_call *a)
{
    struct lines l = {.last = ""};
    strbuf_init(&l.rest, CHAIN_LINE_MAX);
    int status = fetch(a, on_bytes, &l);
    if (status == EXIT_OK && !l.stopped && !str_starts(str_of(l.last), STR("{\"kind\":\"end\""))) {
        cli_say("the export was cut short; ask for it again");
        status = EXIT_UNREACHABLE;
    }
    strbuf_done(&l.rest);
    return status;
}

static int read_file(const char *path, struct lines *l)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "re");
    char buf[65536];
    size_t n;
    if (!f) {
        cli_say("%s can't be read: %s", path, strerror(errno));
        return EXIT_USAGE;
    }
    while (!l->stopped && (n = fread(buf, 1, sizeof buf, f)) > 0)
        (void)on_bytes(l, (struct str){buf, n});
    bool broken = ferror(f) != 0;
    if (broken)
        cli_say("%s can't be read to its end", path);
    if (!standard)
        fclose(f);
    return broken ? EXIT_USAGE : EXIT_OK;
}

static int report(const struct audit_call *a, const struct chain_verify *v, bool whole)
{
    char head[CHAIN_HEAD_MAX + 1];
    chain_verify_head(v, head);
    if (a->cli->json) {
        struct strbuf out;
        struct json_writer w;
        strbuf_init(&out, 8192);
        json_writer_init(&w, &out);
        json_object_begin(&w);
        json_kv_bool(&w, "ok", whole);
        json_kv_str(&w, "workspace", str_of(v->workspace));
        json_kv_int(&w, "begins", v->before + 1);
        json_kv_str_opt(&w, "trimmedAt", str_of(v->before_at));
        json_kv_int(&w, "entries", v->entries);
        json_kv_int(&w, "sealed", v->sealed);
        if (whole)
            json_kv_str(&w, "head", str_of(head));
        json_kv_str_opt(&w, "why", str_of(v->why));
        json_object_end(&w);
        printf("%s\n", out.ptr ? out.ptr : "{\"ok\":false}");
        strbuf_done(&out);
        return whole ? EXIT_OK : EXIT_RUN_ERROR;
    }
    if (!whole) {
        print_field("not verified: ", str_of(v->why), "");
        printf("\n");
        return EXIT_RUN_ERROR;
    }
    printf("verified: workspace %s, %" PRId64 " entries from %" PRId64 " to %" PRId64 ", sealed up to %" PRId64 "\n",
           v->workspace, v->entries, v->before + 1, v->n, v->sealed);
    if (v->before > 0) {
        printf("begins behind entry %" PRId64, v->before);
        print_field(", of ", str_of(v->before_at), "no time");
        printf("\n");
    }
    if (v->unsealed_since_ms > 0 && clock_wall_ms() - v->unsealed_since_ms > IDLE_MS)
        cli_say("not sealed, though a minute has passed: the newest %" PRId64 " of them. Does an API node run?",
                v->n - v->sealed);
    printf("head: %s\n", head);
    return EXIT_OK;
}

static int verify(struct audit_call *a)
{
    struct chain_verify v;
    if (!chain_verify_init(&v, a->expect))
        return cli_usage_error(a->command, "--expect takes the head of an earlier verification: NUMBER:HASH");
    struct lines l = {.verify = &v, .last = ""};
    strbuf_init(&l.rest, CHAIN_LINE_MAX);
    int status = a->file ? read_file(a->file, &l) : fetch(a, on_bytes, &l);
    if (l.rest.len > 0 && status == EXIT_OK && !l.stopped)
        (void)on_line(&l, strbuf_str(&l.rest)); /* a file may end without a newline */
    strbuf_done(&l.rest);
    /* What does not fit is said also where reading ended with that. */
    if (status != EXIT_OK && !v.why[0])
        return status;
    bool whole = chain_verify_end(&v);
    return report(a, &v, whole);
}

enum { LIST, EXPORT, VERIFY, VERBS };

int cmd_audit(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct audit_call a = {.cli = cli, .command = command};
    const struct option table[] = {
        {.name = "since",
         .type = OPTION_STRING,
         .target = &a.since,
         .value = "TIME",
         .help = "at or after: a time, or how long ago (list: default 24h)"},
        {.name = "until", .type = OPTION_STRING, .target = &a.until, .value = "TIME", .help = "before"},
        {.name = "who", .type = OPTION_STRING, .target = &a.who, .value = "KEY", .help = "only what this key id did"},
        {.name = "what",
         .type = OPTION_STRING,
         .target = &a.what,
         .value = "OPERATION",
         .help = "only this operation (stopRun, deleteAgent ...)"},
        {.name = "file",
         .type = OPTION_STRING,
         .target = &a.file,
         .value = "FILE",
         .help = "verify: an export, - for standard input; no node is asked"},
        {.name = "expect",
         .type = OPTION_STRING,
         .target = &a.expect,
         .value = "HEAD",
         .help = "verify: the log must contain this head of an earlier verification"},
    };
    static const char *const verbs[VERBS] = {"list", "export", "verify"};
    const char *words[1] = {0};
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = words, .words_max = 1};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    size_t verb = ask_verb(command, words[0] ? words[0] : "list", verbs, VERBS);
    if (verb == VERBS)
        return EXIT_USAGE;
    if (verb != VERIFY && (a.file || a.expect))
        return cli_usage_error(command, "--file and --expect go with 'verify'");
    if (verb == VERIFY && (a.who || a.what || (a.file && (a.since || a.until))))
        return cli_usage_error(command, a.file ? "--file is verified whole" : "only a whole log can be verified");
    return verb == LIST ? list(&a) : verb == EXPORT ? export(&a) : verify(&a);
}
