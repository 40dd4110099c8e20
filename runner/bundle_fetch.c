#include "runner/bundle_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/keys.h"
#include "common/log.h"
#include "runner/bundle_cache.h"
#include "runner/bundle_unpack.h"

enum { CHUNK_MAX = 2 * LIMIT_BUNDLE_CHUNK };

struct fetch {
    struct loop *loop;
    struct redis *redis;
    struct key key, chunk_key;
    char prefix[KEY_MAX], ws[LIMIT_NAME + 1], hex[65], work[BUNDLE_CACHE_PATH], why[UNPACK_WHY];
    bundle_fetched_fn fn;
    void *ctx;
    int64_t bytes, chunks, chunk_bytes, next;
    int file;
    crypto_hash_sha256_state sha;
    uv_work_t job;
    char *chunk; /* that is written */
    size_t chunk_len;
    enum err err; /* of the job */
};

static void fetch_over(struct fetch *f, enum err err)
{
    if (f->file >= 0)
        close(f->file);
    free(f->chunk);
    f->fn(f->ctx, err, f->why);
    loop_defer_free(f->loop, free, f);
}

static void refuse(struct fetch *f, const char *text)
{
    snprintf(f->why, sizeof f->why, "the bundle sha256:%s %s", f->hex, text);
    fetch_over(f, ERR_INVALID_FIELD);
}

/* Redis gave no answer: the attempt asks again; or it gave another than was asked for. */
static void no_answer(struct fetch *f, enum err err)
{
    snprintf(f->why, sizeof f->why, "the bundle can't be read: %s", err_sentence(err));
    fetch_over(f, err_retryable(err) && err != ERR_NO_MEMORY ? ERR_REDIS_UNAVAILABLE : err);
}

/* ---- unpacking ---- */

/* On the pool. */
static void unpack(struct fetch *f)
{
    static const struct unpack_bounds bounds = {LIMIT_BUNDLE_UNPACKED, LIMIT_BUNDLE_FILES};
    char path[BUNDLE_CACHE_PATH + 16];
    snprintf(path, sizeof path, "%s/code", f->work);
    int root = mkdir(path, 0700) == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (root < 0 || lseek(f->file, 0, SEEK_SET) != 0) {
        snprintf(f->why, sizeof f->why, "the bundle can't be unpacked: %s", strerror(errno));
        f->err = ERR_IO;
    } else {
        f->err = bundle_unpack(f->file, STR_NONE, root, &bounds, f->why);
    }
    if (root >= 0)
        close(root);
    snprintf(path, sizeof path, "%s/archive", f->work);
    (void)unlink(path);
}

static void on_unpack_work(uv_work_t *job)
{
    struct fetch *f = job->data;
    unsigned char sum[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof sum + 1];
    crypto_hash_sha256_final(&f->sha, sum);
    sodium_bin2hex(hex, sizeof hex, sum, sizeof sum);
    if (strcmp(hex, f->hex) != 0) {
        snprintf(f->why, sizeof f->why, "the bundle sha256:%s is refused: what is stored has the digest sha256:%s",
                 f->hex, hex);
        f->err = ERR_INVALID_FIELD;
        return;
    }
    unpack(f);
}

static void on_unpacked(uv_work_t *job, int status)
{
    struct fetch *f = job->data;
    fetch_over(f, status != 0 ? ERR_IO : f->err);
}

/* ---- chunks ---- */

static void ask_chunk(struct fetch *f);

static void start_job(struct fetch *f, uv_work_cb work, uv_after_work_cb after)
{
    f->job.data = f;
    f->err = ERR_OK;
    snprintf(f->why, sizeof f->why, "the bundle can't be unpacked: no thread");
    if (uv_queue_work(loop_uv(f->loop), &f->job, work, after) != 0)
        fetch_over(f, ERR_IO);
}

static void on_write_work(uv_work_t *job)
{
    struct fetch *f = job->data;
    size_t at = 0;
    crypto_hash_sha256_update(&f->sha, (const unsigned char *)f->chunk, f->chunk_len);
    while (at < f->chunk_len) {
        ssize_t n = write(f->file, f->chunk + at, f->chunk_len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            snprintf(f->why, sizeof f->why, "the bundle can't be written to %.200s: %s", f->work, strerror(errno));
            f->err = ERR_IO;
            return;
        }
        at += (size_t)n;
    }
}

static void on_written(uv_work_t *job, int status)
{
    struct fetch *f = job->data;
    free(f->chunk);
    f->chunk = NULL;
    if (status != 0 || f->err) {
        fetch_over(f, ERR_IO);
        return;
    }
    f->next++;
    if (f->next < f->chunks)
        ask_chunk(f);
    else
        start_job(f, on_unpack_work, on_unpacked);
}

static void on_chunk(void *ctx, enum err err, const redisReply *reply)
{
    struct fetch *f = ctx;
    struct str bytes = redis_str(reply);
    int64_t want = f->next == f->chunks - 1 ? f->bytes - f->next * f->chunk_bytes : f->chunk_bytes;
    if (err) {
        no_answer(f, err);
        return;
    }
    if ((int64_t)bytes.len != want) {
        refuse(f, bytes.len == 0 ? "is refused: a chunk of it is missing"
                                 : "is refused: a chunk of it has another length than it should");
        return;
    }
    f->chunk = malloc(bytes.len);
    if (!f->chunk) {
        no_answer(f, ERR_NO_MEMORY);
        return;
    }
    memcpy(f->chunk, bytes.ptr, bytes.len);
    f->chunk_len = bytes.len;
    start_job(f, on_write_work, on_written);
}

/* GETRANGE, so that no more comes than a chunk may have and one byte. */
static void ask_chunk(struct fetch *f)
{
    char end[24];
    snprintf(end, sizeof end, "%lld", (long long)f->chunk_bytes);
    f->chunk_key = keys_bundle_chunk(str_of(f->prefix), str_of(f->ws), str_of(f->hex), (unsigned)f->next);
    const struct str argv[] = {STR("GETRANGE"), key_str(&f->chunk_key), STR("0"), str_of(end)};
    redis_command(f->redis, ARRAY_LEN(argv), argv, on_chunk, f);
}

/* ---- what it is ---- */

static void on_about(void *ctx, enum err err, const redisReply *reply)
{
    struct fetch *f = ctx;
    char path[BUNDLE_CACHE_PATH + 16];
    if (err) {
        no_answer(f, err);
        return;
    }
    f->bytes = redis_int(redis_at(reply, 0), 0);
    f->chunks = redis_int(redis_at(reply, 1), 0);
    f->chunk_bytes = redis_int(redis_at(reply, 2), 0);
    if (!str_eqz(redis_str(redis_at(reply, 3)), "1")) {
        refuse(f, "is not there (any more), or was not uploaded to its end");
        return;
    }
    if (f->bytes < 1 || f->bytes > LIMIT_BUNDLE || f->chunk_bytes < 1 || f->chunk_bytes > CHUNK_MAX ||
        f->chunks != (f->bytes + f->chunk_bytes - 1) / f->chunk_bytes) {
        refuse(f, "is refused: what is stored of its size makes no sense");
        return;
    }
    snprintf(path, sizeof path, "%s/archive", f->work);
    f->file = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f->file < 0) {
        snprintf(f->why, sizeof f->why, "the bundle can't be written to %.200s: %s", f->work, strerror(errno));
        fetch_over(f, ERR_IO);
        return;
    }
    ask_chunk(f);
}

enum err bundle_fetch(struct loop *l, struct redis *r, struct str prefix, struct str workspace, struct str hex,
                      const char *work, bundle_fetched_fn fn, void *ctx)
{
    struct fetch *f = calloc(1, sizeof *f);
    if (!f)
        return ERR_NO_MEMORY;
    PRE(prefix.len < sizeof f->prefix && workspace.len < sizeof f->ws && hex.len < sizeof f->hex);
    f->loop = l;
    f->redis = r;
    f->fn = fn;
    f->ctx = ctx;
    f->file = -1;
    snprintf(f->prefix, sizeof f->prefix, "%.*s", STR_ARG(prefix));
    snprintf(f->ws, sizeof f->ws, "%.*s", STR_ARG(workspace));
    snprintf(f->hex, sizeof f->hex, "%.*s", STR_ARG(hex));
    snprintf(f->work, sizeof f->work, "%s", work);
    crypto_hash_sha256_init(&f->sha);
    f->key = keys_bundle(str_of(f->prefix), str_of(f->ws), str_of(f->hex));
    const struct str argv[] = {STR("HMGET"),  key_str(&f->key),  STR("bytes"),
                               STR("chunks"), STR("chunkBytes"), STR("done")};
    redis_command(r, ARRAY_LEN(argv), argv, on_about, f);
    return ERR_OK;
}
