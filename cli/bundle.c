#include "cli/bundle.h"

#include "cli/client.h"
#include "cli/output.h"
#include "common/crypto.h"
#include "common/limits.h"

enum {
    TRIES = 3, /* others may send the same archive, or it may expire meanwhile */
    CHUNK_TIME_MS = 120000,
    CHUNKS_MAX = LIMIT_BUNDLE / LIMIT_BUNDLE_CHUNK
};

struct sending {
    struct cli *cli;
    const struct bundle_upload *u;
    int64_t missing[CHUNKS_MAX];
    size_t missing_len, chunks, sent;
    bool complete, again;
};

/* One request. EXIT_OK, or the exit status after a complaint; or, when s may try again and it is worth it, EXIT_OK with s->again. */
static int request(struct sending *s, const struct request *r, struct response *ret_response)
{
    client_send(s->cli->client, r, ret_response);
    if (response_ok(ret_response))
        return EXIT_OK;
    bool changed = ret_response->status == 404 || ret_response->status == 409 || ret_response->status == 422;
    if (s->again && changed)
        return EXIT_OK;
    s->again = false;
    status_clear(s->cli);
    return client_complain(s->cli->client, ret_response);
}

static bool take_missing(struct sending *s, const struct json *answer)
{
    const struct json *complete = json_get(answer, "complete"), *missing = json_get(answer, "missing");
    int64_t chunks = json_number(answer, "chunks", 0);
    s->complete = complete && complete->type == JSON_BOOL && complete->boolean;
    if (s->complete)
        return true;
    if (!missing || missing->type != JSON_ARRAY || missing->count > CHUNKS_MAX || chunks < 1 || chunks > CHUNKS_MAX ||
        json_number(answer, "chunkBytes", 0) != LIMIT_BUNDLE_CHUNK)
        return false;
    s->chunks = (size_t)chunks;
    s->missing_len = 0;
    for (const struct json *m = missing->child; m; m = m->next) {
        if (m->type != JSON_INT || m->integer < 0 || m->integer >= chunks)
            return false;
        s->missing[s->missing_len++] = m->integer;
    }
    return true;
}

static int begin(struct sending *s)
{
    struct strbuf body;
    struct json_writer w;
    struct response response;
    strbuf_init(&body, 1024);
    json_writer_init(&w, &body);
    json_object_begin(&w);
    json_kv_str(&w, "digest", str_of(s->u->digest));
    json_kv_int(&w, "bytes", (int64_t)s->u->archive.len);
    if (s->u->files >= 0)
        json_kv_int(&w, "files", s->u->files);
    if (s->u->unpacked >= 0)
        json_kv_int(&w, "unpackedBytes", s->u->unpacked);
    json_object_end(&w);
    s->again = false;
    int status = request(
        s, &(struct request){.method = "POST", .path = "/v1/bundles", .body = strbuf_str(&body), .repeatable = true},
        &response);
    if (status == EXIT_OK) {
        struct arena arena;
        arena_init(&arena, 4U << 20);
        const struct json *answer = client_json(&response, &arena, 4);
        if (!answer) {
            status = EXIT_UNREACHABLE;
        } else if (!take_missing(s, answer)) {
            cli_say("the API answered something else than which chunks are missing");
            status = EXIT_UNREACHABLE;
        }
        arena_done(&arena);
    }
    response_done(&response);
    strbuf_done(&body);
    return status;
}

static int send_chunks(struct sending *s)
{
    int status = EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && !s->again && i < s->missing_len; i++) {
        char path[160];
        struct response response;
        size_t at = (size_t)s->missing[i] * LIMIT_BUNDLE_CHUNK, left = s->u->archive.len - at;
        status_show(s->cli, "uploading: %zu of %zu chunks, %zu of %zu KB", i, s->missing_len, at / 1000,
                    s->u->archive.len / 1000);
        snprintf(path, sizeof(path), "/v1/bundles/%s/chunks/%lld", s->u->digest, (long long)s->missing[i]);
        s->again = true;
        status = request(
            s,
            &(struct request){.method = "PUT",
                              .path = path,
                              .body = {s->u->archive.ptr + at, left < LIMIT_BUNDLE_CHUNK ? left : LIMIT_BUNDLE_CHUNK},
                              .content_type = "application/octet-stream",
                              .timeout_ms = CHUNK_TIME_MS},
            &response);
        s->again = status == EXIT_OK && !response_ok(&response);
        s->sent += status == EXIT_OK && !s->again;
        response_done(&response);
    }
    status_clear(s->cli);
    return status;
}

static int complete(struct sending *s, bool last)
{
    char path[160];
    struct response response;
    snprintf(path, sizeof(path), "/v1/bundles/%s/complete", s->u->digest);
    s->again = !last;
    int status =
        request(s,
                &(struct request){
                    .method = "POST", .path = path, .body = STR("{}"), .repeatable = true, .timeout_ms = CHUNK_TIME_MS},
                &response);
    s->again = status == EXIT_OK && !response_ok(&response);
    response_done(&response);
    return status;
}

int bundle_send(struct cli *cli, const struct bundle_upload *u, size_t *ret_sent, size_t *ret_chunks)
{
    struct sending s = {.cli = cli, .u = u};
    int status = EXIT_OK;
    if (!cli_client(cli))
        return EXIT_USAGE;
    for (int try = 1; status == EXIT_OK && !s.complete; try++) {
        status = begin(&s);
        if (status != EXIT_OK || s.complete)
            break;
        status = send_chunks(&s);
        if (status == EXIT_OK && s.again && try == TRIES) {
            cli_say("the upload of the bundle was thrown away while it went on, %d times; try again later", TRIES);
            status = EXIT_UNREACHABLE;
        }
        if (status == EXIT_OK && !s.again)
            status = complete(&s, try == TRIES);
        s.complete = status == EXIT_OK && !s.again;
    }
    *ret_sent = s.sent;
    *ret_chunks = s.chunks;
    return status;
}

/* ---- down ---- */

/* How many chunks it has; 0 after a complaint, with the exit status. */
static int64_t count_chunks(struct cli *cli, struct str digest, int *ret_status)
{
    char path[160];
    struct response response;
    struct arena arena;
    int64_t chunks = 0;
    arena_init(&arena, 1U << 20);
    snprintf(path, sizeof(path), "/v1/bundles/%.*s", STR_ARG(digest));
    client_send(cli->client, &(struct request){.method = "GET", .path = path}, &response);
    *ret_status = response_ok(&response) ? EXIT_OK : client_complain(cli->client, &response);
    const struct json *answer = *ret_status == EXIT_OK ? client_json(&response, &arena, 2) : NULL;
    if (answer)
        chunks = json_number(answer, "chunks", 0);
    if (*ret_status == EXIT_OK && (chunks < 1 || chunks > CHUNKS_MAX)) {
        cli_say("the API answered something else than a bundle");
        *ret_status = EXIT_UNREACHABLE;
        chunks = 0;
    }
    response_done(&response);
    arena_done(&arena);
    return chunks;
}

int bundle_fetch(struct cli *cli, struct str digest, struct strbuf *out)
{
    int status = EXIT_OK;
    if (digest.len != 7 + SHA256_HEX_LEN || !cli_client(cli)) {
        cli_say("that is no bundle's digest: %.*s", (int)(digest.len < 80 ? digest.len : 80), digest.ptr);
        return EXIT_USAGE;
    }
    int64_t chunks = count_chunks(cli, digest, &status);
    for (int64_t i = 0; status == EXIT_OK && i < chunks; i++) {
        char path[160];
        struct response response;
        status_show(cli, "downloading: %lld of %lld chunks", (long long)i, (long long)chunks);
        snprintf(path, sizeof(path), "/v1/bundles/%.*s/chunks/%lld", STR_ARG(digest), (long long)i);
        client_send(cli->client, &(struct request){.method = "GET", .path = path, .timeout_ms = CHUNK_TIME_MS},
                    &response);
        status_clear(cli);
        if (response_ok(&response))
            strbuf_add(out, strbuf_str(&response.body));
        else
            status = client_complain(cli->client, &response);
        response_done(&response);
    }
    char hex[SHA256_HEX_LEN + 1];
    if (status != EXIT_OK)
        return status;
    crypto_sha256_hex(strbuf_str(out), hex);
    if (strbuf_failed(out) || memcmp(hex, digest.ptr + 7, SHA256_HEX_LEN) != 0) {
        cli_say("what the API sent is not the bundle %.*s", STR_ARG(digest));
        return EXIT_UNREACHABLE;
    }
    return EXIT_OK;
}
