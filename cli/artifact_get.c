#include "cli/artifacts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/crypto.h"

enum {
    TRIES = 3, /* of a download that was cut: somebody may store under the name meanwhile, or a node ends */
    IDLE_MS = 60000,
    BUSY_MS = 10000 /* how long answers 429 and 503 are waited out, as client_send does */
};

struct download {
    struct cli *cli;
    const char *path, *file; /* file: NULL: standard output */
    char *part;              /* the temporary name beside the file */
    int fd;
    int64_t bytes;
    int error; /* errno of the write that failed */
    struct crypto_sha256 sha;
    char digest[SHA256_HEX_LEN + 1];
};

static bool take_bytes(void *ctx, struct str bytes)
{
    struct download *d = ctx;
    crypto_sha256_add(&d->sha, bytes);
    while (bytes.len > 0) {
        ssize_t n = write(d->fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            d->error = errno;
            return false;
        }
        bytes.ptr += n;
        bytes.len -= (size_t)n;
        d->bytes += n;
    }
    return true;
}

static bool show_progress(void *ctx)
{
    struct download *d = ctx;
    if (d->bytes > 0)
        status_show(d->cli, "downloading: %lld KB", (long long)(d->bytes / 1000));
    return true;
}

static bool begin_again(struct download *d)
{
    crypto_sha256_begin(&d->sha);
    if (d->bytes == 0)
        return true;
    d->bytes = 0;
    return ftruncate(d->fd, 0) == 0 && lseek(d->fd, 0, SEEK_SET) == 0;
}

/* What came is all of it, by the digest that the head promised. */
static bool is_whole(struct download *d, const struct response *r)
{
    char promised[SHA256_HEX_LEN + 12];
    crypto_sha256_end(&d->sha, d->digest);
    snprintf(promised, sizeof(promised), "\"sha256:%s\"", d->digest);
    return strcmp(promised, r->etag) == 0;
}

/* One look at what came. True: it is over, with the exit status. */
static bool judge(struct download *d, const struct response *r, int tries, int *ret_status)
{
    struct client *client = d->cli->client;
    bool cut = r->status == 200 && r->why[0];
    *ret_status = EXIT_UNREACHABLE;
    if (r->interrupted) {
        *ret_status = EXIT_DETACHED;
    } else if (d->error) {
        cli_say("%s can't be written: %s", d->file ? d->file : "standard output", strerror(d->error));
        *ret_status = EXIT_RUN_ERROR;
    } else if (cut) {
        client_next_url(client);
        if (tries < TRIES && (d->file || d->bytes == 0))
            return false;
        cli_say("the download was cut after %lld bytes: %s", (long long)d->bytes, r->why);
    } else if (r->status != 200) {
        *ret_status = client_complain(client, r);
    } else if (!is_whole(d, r)) {
        cli_say("what the API sent has another digest than it said (%s)", r->etag[0] ? r->etag : "it said none");
    } else {
        *ret_status = EXIT_OK;
    }
    return true;
}

static int fetch(struct download *d)
{
    struct client *client = d->cli->client;
    int64_t busy_until = clock_mono_ms() + BUSY_MS;
    int status = EXIT_RUN_ERROR, tries = 0;
    size_t unreached = 0;
    for (bool over = false; !over;) {
        struct response r;
        if (!begin_again(d)) {
            cli_say("%s can't be written: %s", d->file, strerror(errno));
            return EXIT_RUN_ERROR;
        }
        client_stream(client,
                      &(struct stream_request){.path = d->path,
                                               .accept = "*/*",
                                               .idle_ms = IDLE_MS,
                                               .fn = take_bytes,
                                               .tick = show_progress,
                                               .ctx = d},
                      &r);
        status_clear(d->cli);
        int64_t wait = r.retry_after_ms >= 0 ? r.retry_after_ms : 500;
        bool busy = (r.status == 429 || r.status == 503) && clock_mono_ms() + wait < busy_until;
        if (!r.interrupted && r.status == 0 && ++unreached < client_url_count(client)) {
            client_next_url(client);
        } else if (!r.interrupted && busy) {
            client_next_url(client);
            (void)interrupt_wait(wait);
            over = interrupted();
            status = EXIT_DETACHED;
        } else {
            over = judge(d, &r, ++tries, &status);
        }
        response_done(&r);
    }
    return status;
}

/* ---- the file ---- */

/* A file beside it, of which nobody takes a part for the whole. */
static bool open_part(struct download *d)
{
    struct stat about;
    d->fd = -1;
    if (stat(d->file, &about) == 0 && !S_ISREG(about.st_mode)) {
        cli_say("%s is no file; - stands for standard output", d->file);
        return false;
    }
    if (asprintf(&d->part, "%s.XXXXXX", d->file) < 0) {
        d->part = NULL;
        cli_say("out of memory");
        return false;
    }
    d->fd = mkostemp(d->part, O_CLOEXEC);
    if (d->fd < 0) {
        cli_say("%s can't be written: %s", d->file, strerror(errno));
        return false;
    }
    mode_t mask = umask(0);
    umask(mask);
    (void)fchmod(d->fd, 0666 & ~mask); /* like any file that a program makes */
    return true;
}

static int close_part(struct download *d, int status)
{
    int error = close(d->fd) == 0 ? 0 : errno;
    if (status == EXIT_OK && !error && rename(d->part, d->file) == 0)
        return EXIT_OK;
    if (status == EXIT_OK) {
        cli_say("%s can't be written: %s", d->file, strerror(error ? error : errno));
        status = EXIT_RUN_ERROR;
    }
    unlink(d->part);
    return status;
}

static void print_got(const struct download *d, const char *name)
{
    struct strbuf out;
    struct json_writer w;
    if (!d->cli->json) {
        printf("%s  %lld bytes  sha256:%s\n", d->file, (long long)d->bytes, d->digest);
        return;
    }
    strbuf_init(&out, 65536);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "name", str_of(name));
    json_kv_str(&w, "file", str_of(d->file));
    json_kv_int(&w, "bytes", d->bytes);
    json_key(&w, "digest");
    struct strbuf digest;
    strbuf_init(&digest, 128);
    strbuf_addf(&digest, "sha256:%s", d->digest);
    json_str(&w, strbuf_str(&digest));
    json_object_end(&w);
    printf("%s\n", out.ptr ? out.ptr : "");
    strbuf_done(&digest);
    strbuf_done(&out);
}

int artifact_get(struct cli *cli, const char *kind, const char *name, const char *file)
{
    struct download d = {.cli = cli, .file = file, .fd = STDOUT_FILENO};
    struct strbuf path;
    int status = EXIT_USAGE;
    if (!cli_client(cli) || (file && !open_part(&d))) {
        free(d.part);
        return EXIT_USAGE;
    }
    interrupt_begin(); /* the temporary file goes away then too */
    strbuf_init(&path, 8192);
    strbuf_addz(&path, "/v1/artifacts/");
    url_encode(&path, str_of(name));
    strbuf_addz(&path, "?kind=");
    url_encode(&path, str_of(kind));
    d.path = path.ptr;
    status = fetch(&d);
    if (file)
        status = close_part(&d, status);
    if (file && status == EXIT_OK)
        print_got(&d, name);
    strbuf_done(&path);
    free(d.part);
    return status;
}
