#include "cli/agents_code.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/bundle.h"
#include "cli/definition.h"
#include "cli/export_file.h"
#include "cli/pack.h"
#include "common/limits.h"

/* An agent that comes with its code, and what is to be said of it. */
struct carried {
    const char *digest; /* "" for none */
    struct str archive;
    int64_t files, unpacked; /* -1: not known */
    size_t sent, chunks;
};

static void print_stored(struct cli *cli, void *ctx, const struct json *answer)
{
    const struct carried *k = ctx;
    struct str name = json_text(answer, "name");
    long long version = (long long)json_number(answer, "version", 0);
    if (!cli->json) {
        printf("%.*s version %lld", STR_ARG(name), version);
        if (k->archive.len > 0)
            printf("  %s  %zu bytes", k->digest, k->archive.len);
        printf("\n");
        return;
    }
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "name", name);
    json_kv_int(&w, "version", version);
    if (k->archive.len > 0) {
        json_kv_str(&w, "bundle", str_of(k->digest));
        json_kv_int(&w, "bytes", (int64_t)k->archive.len);
        json_kv_int(&w, "sentChunks", (int64_t)k->sent);
    }
    if (k->files >= 0)
        json_kv_int(&w, "files", k->files);
    if (k->unpacked >= 0)
        json_kv_int(&w, "unpackedBytes", k->unpacked);
    json_object_end(&w);
    printf("%s\n", out.ptr ? out.ptr : "");
    strbuf_done(&out);
}

/* Uploads the code, where there is any, and stores the definition. */
static int store(struct cli *cli, const char *name, struct str definition, struct carried *k)
{
    int status = EXIT_OK;
    if (k->archive.len > 0)
        status =
            bundle_send(cli,
                        &(struct bundle_upload){
                            .archive = k->archive, .digest = k->digest, .files = k->files, .unpacked = k->unpacked},
                        &k->sent, &k->chunks);
    if (status == EXIT_OK)
        status =
            ask(cli, &(struct question){.method = "PUT", .prefix = "/v1/agents/", .name = name, .body = definition},
                print_stored, k);
    return status;
}

/* ---- push ---- */

static int push_packed(struct cli *cli, const struct command *command, const char *file, const char *name,
                       const struct pack *pack)
{
    struct carried k = {pack->digest, strbuf_str(&pack->archive), pack->files, pack->unpacked, 0, 0};
    char found[LIMIT_NAME + 2];
    struct strbuf definition;
    int status = EXIT_USAGE;
    strbuf_init(&definition, LIMIT_DEFINITION * 2);
    if (!definition_read_bundled(file, name, pack->digest, &definition, found, sizeof(found)))
        status = EXIT_USAGE;
    else if (!found[0])
        status = cli_usage_error(command, "%s has no \"name\"; give one with --name", file);
    else
        status = store(cli, found, strbuf_str(&definition), &k);
    strbuf_done(&definition);
    return status;
}

int agents_push(struct cli *cli, const struct command *command, const char *folder, const char *name)
{
    char file[PATH_MAX];
    struct pack pack;
    struct strbuf why;
    int n = snprintf(file, sizeof(file), "%s/agent.json", folder);
    if (n < 0 || (size_t)n >= sizeof(file) || access(file, R_OK) != 0) {
        cli_say("%s/agent.json can't be read: an agent's folder has its definition there", folder);
        return EXIT_USAGE;
    }
    strbuf_init(&why, 65536);
    status_show(cli, "packing %s", folder);
    enum err err = pack_folder(folder, &pack, &why);
    status_clear(cli);
    int status = EXIT_USAGE;
    if (err == ERR_OK) {
        status = push_packed(cli, command, file, name, &pack);
        pack_done(&pack);
    } else {
        cli_say("%s", why.len ? why.ptr : err_sentence(err));
    }
    strbuf_done(&why);
    return status;
}

/* ---- export ---- */

struct exporting {
    const char *file;
    int status;
    struct strbuf archive;
};

/* The whole file or none: it gets its name when it is complete. */
static bool write_file(const char *file, struct str content)
{
    char *part = NULL;
    if (asprintf(&part, "%s.part", file) < 0)
        return false;
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    size_t done = 0;
    ssize_t n = 0;
    while (fd >= 0 && done < content.len && (n = write(fd, content.ptr + done, content.len - done)) > 0)
        done += (size_t)n;
    bool ok = fd >= 0 && done == content.len;
    int error = errno;
    if (fd >= 0 && close(fd) != 0 && ok) {
        ok = false;
        error = errno;
    }
    if (ok && rename(part, file) != 0) {
        ok = false;
        error = errno;
    }
    if (!ok) {
        cli_say("%s can't be written: %s", file, strerror(error));
        if (fd >= 0)
            unlink(part);
    }
    free(part);
    return ok;
}

static void export_answer(struct cli *cli, void *ctx, const struct json *answer)
{
    struct exporting *x = ctx;
    const struct json *definition = json_get(answer, "definition");
    struct str digest = json_text(definition, "bundle");
    struct strbuf out;
    x->status = EXIT_UNREACHABLE;
    if (!definition || definition->type != JSON_OBJECT) {
        cli_say("the API answered something else than an agent");
        return;
    }
    if (digest.len > 0 && (x->status = bundle_fetch(cli, digest, &x->archive)) != EXIT_OK)
        return;
    strbuf_init(&out, EXPORT_FILE_MAX);
    if (export_write(definition->raw, strbuf_str(&x->archive), &out) != ERR_OK)
        cli_say("out of memory");
    else if (write_file(x->file, strbuf_str(&out)))
        x->status = EXIT_OK;
    else
        x->status = EXIT_RUN_ERROR;
    if (x->status == EXIT_OK && cli->json)
        printf("{\"name\":\"%.*s\",\"version\":%lld,\"bytes\":%zu}\n", STR_ARG(json_text(answer, "name")),
               (long long)json_number(answer, "version", 0), out.len);
    else if (x->status == EXIT_OK)
        printf("%.*s version %lld  %zu bytes\n", STR_ARG(json_text(answer, "name")),
               (long long)json_number(answer, "version", 0), out.len);
    strbuf_done(&out);
}

int agents_export(struct cli *cli, const char *name, int64_t version, const char *file)
{
    struct exporting x = {.file = file, .status = EXIT_UNREACHABLE};
    char query[48] = "";
    if (version)
        snprintf(query, sizeof(query), "?version=%lld", (long long)version);
    strbuf_init(&x.archive, LIMIT_BUNDLE + 1);
    int status = ask(cli, &(struct question){.method = "GET", .prefix = "/v1/agents/", .name = name, .suffix = query},
                     export_answer, &x);
    strbuf_done(&x.archive);
    return status == EXIT_OK ? x.status : status;
}

/* ---- import ---- */

int agents_import(struct cli *cli, const struct command *command, const char *file, const char *name)
{
    size_t len = 0;
    char *bytes = cli_read_file(file, EXPORT_FILE_MAX, &len);
    struct export_file f;
    const char *why = NULL;
    if (!bytes)
        return EXIT_USAGE;
    enum err err = export_read((struct str){bytes, len}, &f, &why);
    free(bytes);
    if (err) {
        cli_say("%s can't be imported: %s", file, why);
        return EXIT_USAGE;
    }
    struct carried k = {f.digest, strbuf_str(&f.archive), -1, -1, 0, 0};
    char found[LIMIT_NAME + 2];
    struct strbuf definition;
    int status = EXIT_USAGE;
    strbuf_init(&definition, LIMIT_DEFINITION * 2);
    if (definition_write(file, strbuf_str(&f.definition), name, NULL, &definition, found, sizeof(found)))
        status = found[0] ? store(cli, found, strbuf_str(&definition), &k)
                          : cli_usage_error(command, "%s has no \"name\"; give one with --name", file);
    strbuf_done(&definition);
    export_done(&f);
    return status;
}
