#include "cli/artifacts.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/limits.h"

enum { PART_TIME_MS = 120000, OUTAGE_MS = 30000, PAUSE_MS = 500 };

/* The file by parts, one of them read ahead: the first request has to know whether it is the only one. */
struct upload {
    struct cli *cli;
    const char *path, *file, *type;
    FILE *in;
    char *now, *ahead; /* LIMIT_STORAGE_PART bytes each */
    size_t now_len, ahead_len;
    int64_t bytes, parts;
    struct crypto_sha256 sha;
    char digest[SHA256_HEX_LEN + 1], id[44];
};

static bool read_ahead(struct upload *u)
{
    char *free_one = u->now;
    u->now = u->ahead;
    u->now_len = u->ahead_len;
    u->ahead = free_one;
    u->ahead_len = 0;
    if (!feof(u->in))
        u->ahead_len = fread(u->ahead, 1, LIMIT_STORAGE_PART, u->in);
    if (ferror(u->in)) {
        status_clear(u->cli);
        cli_say("%s can't be read: %s", u->file, strerror(errno));
        return false;
    }
    return true;
}

/* Sends it again where no node answers, once; where parts of it are there already, for as long as a node takes to begin again. Each of these requests may be sent twice. */
static void send_patiently(struct upload *u, const char *query, struct str body, struct response *ret_response)
{
    int64_t until = clock_mono_ms() + OUTAGE_MS;
    struct strbuf path;
    strbuf_init(&path, 8192);
    strbuf_addz(&path, u->path);
    strbuf_addz(&path, query);
    for (int tries = 1;; tries++) {
        client_send(
            u->cli->client,
            &(struct request){
                .method = "PUT", .path = path.ptr, .body = body, .content_type = u->type, .timeout_ms = PART_TIME_MS},
            ret_response);
        bool lost = ret_response->status == 0 && !ret_response->interrupted;
        if (!lost || (u->parts > 0 ? clock_mono_ms() >= until : tries > 1) || interrupt_wait(PAUSE_MS))
            break;
        response_done(ret_response);
    }
    strbuf_done(&path);
}

/* How many parts are there, as the answer to one of them says; -1 after a complaint. */
static int64_t parts_there(const struct response *r)
{
    struct arena arena;
    arena_init(&arena, 1U << 16);
    const struct json *answer = client_json(r, &arena, 2);
    int64_t parts = json_number(answer, "parts", -1);
    if (answer && parts < 0)
        cli_say("the API answered something else than how many parts there are");
    arena_done(&arena);
    return parts;
}

static int send_part(struct upload *u)
{
    char query[160];
    struct response r;
    int status = EXIT_UNREACHABLE;
    if (u->parts == LIMIT_STORAGE_PARTS) {
        status_clear(u->cli);
        cli_say("%s has more than %d MiB, which is the most that is stored under one name", u->file,
                LIMIT_STORAGE_PARTS);
        return EXIT_USAGE;
    }
    status_show(u->cli, "uploading: %lld KB", (long long)(u->bytes / 1000));
    snprintf(query, sizeof(query), "&upload=%s&part=%lld", u->id, (long long)u->parts);
    crypto_sha256_add(&u->sha, (struct str){u->now, u->now_len});
    send_patiently(u, query, (struct str){u->now, u->now_len}, &r);
    if (!response_ok(&r)) {
        status_clear(u->cli);
        status = client_complain(u->cli->client, &r);
    } else {
        int64_t there = parts_there(&r);
        /* One that was sent twice counts once. */
        if (there == u->parts + 1)
            status = EXIT_OK;
        else if (there >= 0)
            cli_say("the API has %lld parts where %lld were sent", (long long)there, (long long)u->parts + 1);
        u->parts++;
        u->bytes += (int64_t)u->now_len;
    }
    response_done(&r);
    return status;
}

static void print_stored(const struct upload *u, const char *name, const struct response *r)
{
    if (u->cli->json && r->body.len > 0)
        printf("%.*s\n", (int)r->body.len, r->body.ptr);
    else if (u->cli->json)
        printf("{\"bytes\":%lld,\"digest\":\"sha256:%s\"}\n", (long long)u->bytes, u->digest);
    else
        printf("%s  %lld bytes  sha256:%s\n", name, (long long)u->bytes, u->digest);
}

/* Whether the digest in an answer is that of what was sent; there is none in the answer to a repetition (see stands_there). */
static bool says_digest(const struct upload *u, const struct response *r)
{
    struct arena arena;
    arena_init(&arena, 1U << 16);
    struct str said = json_text(client_json(r, &arena, 2), "digest");
    bool same = said.len == 7 + SHA256_HEX_LEN && memcmp(said.ptr + 7, u->digest, SHA256_HEX_LEN) == 0;
    if (!same)
        cli_say("what was stored has another digest than what was sent, sha256:%s", u->digest);
    arena_done(&arena);
    return same;
}

static bool take_nothing(void *ctx, struct str bytes)
{
    (void)ctx;
    (void)bytes;
    return false;
}

/* Whether what was sent stands under the name: an end whose answer was lost, sent again, finds no parts any more. */
static bool stands_there(const struct upload *u)
{
    char wanted[SHA256_HEX_LEN + 12];
    struct response r;
    client_stream(u->cli->client,
                  &(struct stream_request){.path = u->path, .accept = "*/*", .idle_ms = 10000, .fn = take_nothing}, &r);
    snprintf(wanted, sizeof(wanted), "\"sha256:%s\"", u->digest);
    bool same = r.status == 200 && strcmp(r.etag, wanted) == 0;
    response_done(&r);
    return same;
}

/* All of it in one request, or the end of the parts. */
static int send_end(struct upload *u, const char *name)
{
    char query[160] = "";
    struct response r;
    int status = EXIT_OK;
    bool whole = u->parts == 0;
    if (whole) {
        crypto_sha256_add(&u->sha, (struct str){u->now, u->now_len});
        u->bytes = (int64_t)u->now_len;
    } else {
        snprintf(query, sizeof(query), "&upload=%s&parts=%lld", u->id, (long long)u->parts);
    }
    crypto_sha256_end(&u->sha, u->digest);
    send_patiently(u, query, (struct str){whole ? u->now : "", whole ? u->now_len : 0}, &r);
    status_clear(u->cli);
    if (!whole && r.status == 409 && stands_there(u))
        strbuf_reset(&r.body);
    else if (!response_ok(&r))
        status = client_complain(u->cli->client, &r);
    else if (!says_digest(u, &r))
        status = EXIT_UNREACHABLE;
    if (status == EXIT_OK)
        print_stored(u, name, &r);
    response_done(&r);
    return status;
}

static int send_all(struct upload *u, const char *name)
{
    int status = EXIT_OK;
    crypto_token(u->id);
    crypto_sha256_begin(&u->sha);
    for (int i = 0; i < 2; i++)
        if (!read_ahead(u))
            return EXIT_USAGE;
    if (u->ahead_len > 0) {
        while (status == EXIT_OK && u->now_len > 0) {
            status = send_part(u);
            if (status == EXIT_OK && !read_ahead(u))
                status = EXIT_USAGE;
        }
    }
    return status == EXIT_OK ? send_end(u, name) : status;
}

int artifact_put(struct cli *cli, const struct command *command, const char *kind, const char *file, const char *name,
                 const char *type)
{
    bool standard = strcmp(file, "-") == 0;
    const char *slash = strrchr(file, '/');
    struct strbuf path;
    if (!name && standard)
        return cli_usage_error(command, "standard input has no name; give one with --name");
    if (!name)
        name = slash ? slash + 1 : file;
    for (const char *p = type; p && *p; p++)
        if (*p < ' ' || *p > '~' || p - type >= 128)
            return cli_usage_error(command, "--type takes a media type like text/plain, at most 128 characters");
    struct upload u = {.cli = cli, .file = standard ? "standard input" : file};
    u.type = type && *type ? type : "application/octet-stream";
    u.in = standard ? stdin : fopen(file, "re");
    if (!u.in) {
        cli_say("%s can't be read: %s", file, strerror(errno));
        return EXIT_USAGE;
    }
    strbuf_init(&path, 8192);
    strbuf_addz(&path, "/v1/artifacts/");
    url_encode(&path, str_of(name));
    strbuf_addz(&path, "?kind=");
    url_encode(&path, str_of(kind));
    u.path = path.ptr;
    u.now = malloc(LIMIT_STORAGE_PART);
    u.ahead = malloc(LIMIT_STORAGE_PART);
    int status = EXIT_USAGE;
    if (!u.now || !u.ahead)
        cli_say("out of memory");
    else if (cli_client(cli))
        status = send_all(&u, name);
    free(u.now);
    free(u.ahead);
    strbuf_done(&path);
    if (!standard)
        fclose(u.in);
    return status;
}
