/* errand doctor: looks at what a deployment depends on, and says for each thing that is not right what to do. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/doctor_audit.h"
#include "cli/output.h"
#include "cli/redis_sync.h"
#include "cli/where.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/keys.h"

#define REDIS_DEFAULT_URL "redis://127.0.0.1:6379/0"
#define FILES_WANTED      4096
#define CLOCK_WARN_MS     1000
#define PREFIX_DEFAULT    "errand:"
#define SHARDS_MAX        256

enum verdict { FINE, WARN, BAD };

struct doctor {
    struct cli *cli;
    int bad, warned;
};

/* One line: what was looked at, what was found, and, unless it is fine, what to do. */
static void verdict(struct doctor *d, enum verdict v, const char *check, const char *found, const char *todo)
{
    static const struct {
        const char *mark, *word;
        enum tone tone;
    } looks[] = {{"✔", "ok", TONE_GOOD}, {"!", "warning", TONE_WARN}, {"✘", "failed", TONE_BAD}};
    d->bad += v == BAD;
    d->warned += v == WARN;
    if (d->cli->json) {
        struct strbuf line;
        struct json_writer w;
        strbuf_init(&line, 16384);
        json_writer_init(&w, &line);
        json_object_begin(&w);
        json_kv_str(&w, "check", str_of(check));
        json_kv_str(&w, "status", str_of(looks[v].word));
        json_kv_str(&w, "found", str_of(found));
        json_kv_str_opt(&w, "todo", v == FINE ? STR_NONE : str_of(todo));
        json_object_end(&w);
        printf("%.*s\n", (int)line.len, line.ptr);
        strbuf_done(&line);
        return;
    }
    printf("%s%s%s %-18s %s\n", tone_on(d->cli, looks[v].tone), looks[v].mark, tone_off(d->cli, looks[v].tone), check,
           found);
    if (v != FINE && *todo)
        printf("  %-18s → %s\n", "", todo);
}

/* ---- Redis ---- */

/* One CONFIG GET value; false where the server does not tell. */
static bool config_get(redisContext *c, const char *name, char *buf, size_t cap)
{
    const char *argv[] = {"CONFIG", "GET", name};
    redisReply *r = redisCommandArgv(c, 3, argv, NULL);
    bool ok = r && r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[1]->type == REDIS_REPLY_STRING;
    if (ok)
        snprintf(buf, cap, "%s", r->element[1]->str);
    freeReplyObject(r);
    return ok;
}

static void check_version(struct doctor *d, struct str info)
{
    char version[64] = "?";
    (void)redis_info_value(info, "redis_version", version, sizeof(version));
    verdict(d, strtol(version, NULL, 10) >= 7 ? FINE : BAD, "Redis version", version,
            "Errand needs Redis 7.0 or newer (scripts with flags): upgrade Redis");
}

static void check_eviction(struct doctor *d, struct str info)
{
    char policy[64] = "?";
    if (!redis_info_value(info, "maxmemory_policy", policy, sizeof(policy)))
        verdict(d, WARN, "eviction", "unknown", "make sure that maxmemory-policy is noeviction");
    else
        verdict(d, strcmp(policy, "noeviction") == 0 ? FINE : BAD, "eviction", policy,
                "Redis may drop runs when it is full: set 'maxmemory-policy noeviction'");
}

static void check_memory(struct doctor *d, struct str info)
{
    char max[32] = "0", used[32] = "0", found[128];
    (void)redis_info_value(info, "maxmemory", max, sizeof(max));
    (void)redis_info_value(info, "used_memory", used, sizeof(used));
    double limit = strtod(max, NULL), now = strtod(used, NULL);
    if (limit <= 0) {
        snprintf(found, sizeof(found), "%.0f MiB used, no bound", now / 1048576);
        verdict(d, WARN, "memory", found,
                "set 'maxmemory' below what the machine can spare: past 90 % of it new runs are refused instead of "
                "Redis being killed");
        return;
    }
    snprintf(found, sizeof(found), "%.0f of %.0f MiB used", now / 1048576, limit / 1048576);
    verdict(d, now < 0.8 * limit ? FINE : WARN, "memory", found,
            "past 90 % new runs are refused: raise 'maxmemory', or lower ERRAND_RETENTION_MS");
}

static void check_persistence(struct doctor *d, redisContext *c, struct str info)
{
    /* A Redis user without CONFIG GET, which would show Redis' own passwords too, is not told. */
    char aof[16] = "?", status[32] = "ok", fsync_policy[32] = "not shown", found[128];
    (void)redis_info_value(info, "aof_enabled", aof, sizeof(aof));
    (void)redis_info_value(info, "aof_last_write_status", status, sizeof(status));
    (void)config_get(c, "appendfsync", fsync_policy, sizeof(fsync_policy));
    if (strcmp(aof, "1") != 0) {
        verdict(d, BAD, "persistence", "no append-only file",
                "accepted runs are lost when Redis restarts: set 'appendonly yes' and 'appendfsync everysec'");
        return;
    }
    snprintf(found, sizeof(found), "append-only file, appendfsync %s, last write %s", fsync_policy, status);
    if (strcmp(status, "ok") != 0)
        verdict(d, BAD, "persistence", found,
                "Redis can't write its file: look at its log and at the free space of its disk");
    else if (strcmp(fsync_policy, "no") == 0)
        verdict(d, WARN, "persistence", found,
                "the loss of the machine may cost half a minute: set 'appendfsync everysec' (or 'always')");
    else
        verdict(d, FINE, "persistence", found, "");
}

static void check_clock(struct doctor *d, redisContext *c)
{
    int64_t before = clock_wall_ms();
    redisReply *r = redisCommand(c, "TIME");
    int64_t after = clock_wall_ms();
    if (!r || r->type != REDIS_REPLY_ARRAY || r->elements != 2) {
        verdict(d, BAD, "clock", "Redis does not tell its time", "allow the command TIME to Errand's Redis user");
    } else {
        int64_t theirs = strtoll(r->element[0]->str, NULL, 10) * 1000 + strtoll(r->element[1]->str, NULL, 10) / 1000;
        int64_t off = theirs - (before + (after - before) / 2);
        char found[96];
        snprintf(found, sizeof(found), "Redis is %lld ms %s", (long long)(off < 0 ? -off : off),
                 off < 0 ? "behind" : "ahead");
        verdict(d, off < CLOCK_WARN_MS && off > -CLOCK_WARN_MS ? FINE : WARN, "clock", found,
                "leases follow Redis' clock, but event times follow this machine's: let both be set by NTP");
    }
    freeReplyObject(r);
}

static void check_clients(struct doctor *d, struct str info)
{
    char max[32], found[64];
    if (!redis_info_value(info, "maxclients", max, sizeof(max)))
        return;
    snprintf(found, sizeof(found), "maxclients %s", max);
    verdict(d, strtol(max, NULL, 10) >= 200 ? FINE : WARN, "connections", found,
            "each node keeps a few connections: raise 'maxclients' and the file limit of Redis");
}

/* The URL of Redis (or a list of them); returns where it is from. */
static const char *find_redis_url(char *ret_url, size_t cap)
{
    char folder[PATH_MAX];
    const char *given = getenv("ERRAND_REDIS_URL");
    if (given && *given) {
        snprintf(ret_url, cap, "%s", given);
        return "ERRAND_REDIS_URL";
    }
    if (where_dev_folder(folder) && where_read_line(folder, "redis-url", ret_url, cap))
        return ".errand/redis-url";
    snprintf(ret_url, cap, "%s", REDIS_DEFAULT_URL);
    return "the default";
}

/* The password as a node finds it: the variable, or the file that the other one names. "" for none; false when that file can't be read. */
static bool find_redis_password(struct doctor *d, char *ret_password, size_t cap)
{
    const char *given = getenv("ERRAND_REDIS_PASSWORD"), *path = getenv("ERRAND_REDIS_PASSWORD_FILE");
    snprintf(ret_password, cap, "%s", given ? given : "");
    if (given || !path)
        return true;
    FILE *f = fopen(path, "re");
    bool read = f && (fgets(ret_password, (int)cap, f) || !ferror(f));
    if (!read) {
        char found[PATH_MAX + 128];
        snprintf(found, sizeof(found), "%s can't be read: %s", path, strerror(errno));
        verdict(d, BAD, "Redis password", found, "set ERRAND_REDIS_PASSWORD_FILE to a file that this user may read");
    }
    if (f)
        fclose(f);
    ret_password[strcspn(ret_password, "\r\n")] = '\0';
    return read;
}

/* Connects, and says whether that went well; NULL when it did not. */
static redisContext *reach_redis(struct doctor *d)
{
    char url[4096] = "", password[1024], found[4600];
    const struct redis_login login = {.user = getenv("ERRAND_REDIS_USER"), .password = password};
    const char *from = find_redis_url(url, sizeof(url));
    url[strcspn(url, ",")] = '\0'; /* the first holds what is global */
    if (!find_redis_password(d, password, sizeof(password)))
        return NULL;
    struct strbuf why;
    strbuf_init(&why, 1024);
    redisContext *c = redis_sync_connect(url, &login, 3000, &why);
    explicit_bzero(password, sizeof(password));
    const char *at = strrchr(url, '@'), *reason = c || !why.ptr ? "" : why.ptr;
    snprintf(found, sizeof(found), "%s%s (from %s)%s%s", at ? "…" : "", at ? at : url, from, c ? "" : ": ", reason);
    bool locked = strstr(reason, "NOAUTH") || strstr(reason, "WRONGPASS");
    verdict(d, c ? FINE : BAD, "Redis", found,
            locked
                ? "set ERRAND_REDIS_PASSWORD or ERRAND_REDIS_PASSWORD_FILE, and ERRAND_REDIS_USER where Redis has users"
                : "start Redis, or set ERRAND_REDIS_URL to where it is");
    strbuf_done(&why);
    return c;
}

static void check_redis(struct doctor *d)
{
    redisContext *c = reach_redis(d);
    redisReply *info = c ? redisCommand(c, "INFO") : NULL;
    if (info && info->type == REDIS_REPLY_STRING) {
        struct str text = {info->str, info->len};
        check_version(d, text);
        check_persistence(d, c, text);
        check_eviction(d, text);
        check_memory(d, text);
        check_clock(d, c);
        check_clients(d, text);
    } else if (c) {
        verdict(d, BAD, "Redis", "INFO is refused", "allow the command INFO to Errand's Redis user");
    }
    freeReplyObject(info);
    if (c)
        redisFree(c);
}

/* ---- this machine ---- */

static void check_machine(struct doctor *d)
{
    char found[PATH_MAX + 64], path[PATH_MAX];
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        snprintf(found, sizeof(found), "%llu open files", (unsigned long long)files.rlim_cur);
        verdict(d, files.rlim_cur >= FILES_WANTED ? FINE : WARN, "file limit", found,
                "each reader takes one: raise it with 'ulimit -n 65536', or LimitNOFILE= of the service");
    }
    static const char *const programs[] = {"errand-api", "errand-runner", "errand-exec"};
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        bool there = where_program(programs[i], path);
        verdict(d, there ? FINE : WARN, programs[i], there ? path : "not found beside this program nor in PATH",
                "build it (./dev build), or install all of Errand's programs into one folder; a machine that has only "
                "the client does without");
    }
}

/* ---- the API ---- */

static int ask(struct client *client, const char *path, struct response *r)
{
    client_send(client, &(struct request){.method = "GET", .path = path, .timeout_ms = 5000, .once = true}, r);
    return r->status;
}

static void check_node(struct doctor *d, struct client *client)
{
    char found[1200];
    struct response r;
    int status = ask(client, "/readyz", &r);
    snprintf(found, sizeof(found), "%s: %s", client_url(client),
             status == 0     ? r.why
             : status == 200 ? "ready"
                             : "not ready");
    verdict(d, status == 200 ? FINE : BAD, "API node", found,
            status == 0 ? "start a node (errand-api, or 'errand dev'), or set ERRAND_URL"
                        : "it can't reach Redis, or is shutting down: look at its log");
    response_done(&r);
}

/* Runners that may execute nothing are there, and yet no run ever starts. */
static void check_executors(struct doctor *d, const struct json *runners)
{
    size_t able = 0;
    for (const struct json *r = runners->child; r; r = r->next) {
        const struct json *executors = json_get(r, "executors");
        able += executors && executors->type == JSON_ARRAY && executors->count > 0;
    }
    char found[64];
    snprintf(found, sizeof(found), "%zu of %zu runners may execute something", able, runners->count);
    verdict(d, able ? FINE : WARN, "executors", able ? found : "no runner may execute anything",
            "set ERRAND_EXECUTORS of the runners (process executes what a caller sends)");
}

/* On how many of the runners an executor enforces a capability; capability NULL: how many have the executor. */
static size_t enforcing(const struct json *runners, struct str executor, struct str capability, bool any)
{
    size_t n = 0;
    for (const struct json *r = runners->child; r; r = r->next) {
        const struct json *all = json_get(r, "capabilities"), *e = all ? all->child : NULL;
        while (e && !str_eq(e->key, executor))
            e = e->next;
        const struct json *c = e ? e->child : NULL;
        while (c && !any && !str_eq(c->string, capability))
            c = c->next;
        n += e && (any || c);
    }
    return n;
}

/* One line an executor: what it enforces everywhere, and where it does not. Who starts processes on its machine should be able to limit their memory. */
static void check_executor(struct doctor *d, const struct json *runners, struct str name)
{
    static const char *const capabilities[] = {"timeout",
                                               "process_isolation",
                                               "network_isolation",
                                               "network_filtering",
                                               "filesystem_isolation",
                                               "memory_limit",
                                               "cpu_limit",
                                               "reset",
                                               "deps_install",
                                               "deps_uninstall"};
    char found[1000], title[100];
    size_t all = enforcing(runners, name, STR_NONE, true);
    int len = snprintf(found, sizeof found, "enforces");
    for (size_t i = 0; i < ARRAY_LEN(capabilities); i++) {
        size_t n = enforcing(runners, name, str_of(capabilities[i]), false);
        if (n > 0)
            len += snprintf(found + len, sizeof found - (size_t)len, "%s %s", len > 8 ? "," : "", capabilities[i]);
        if (n > 0 && n < all)
            len += snprintf(found + len, sizeof found - (size_t)len, " (on %zu of %zu runners)", n, all);
    }
    bool local = str_eqz(name, "process") || str_eqz(name, "sandbox") || str_eqz(name, "pool");
    bool limits = enforcing(runners, name, STR("memory_limit"), false) == all;
    snprintf(title, sizeof title, "executor %.*s", (int)(name.len > 32 ? 32 : name.len), name.ptr);
    verdict(d, limits || !local ? FINE : WARN, title, len > 8 ? found : "enforces nothing",
            "it can't limit memory on every runner, so agents that ask for that wait: control groups must be delegated "
            "to runners (docs/operations.md)");
}

static void check_each_executor(struct doctor *d, const struct json *runners)
{
    for (const struct json *r = runners->child; r; r = r->next) {
        const struct json *all = json_get(r, "capabilities");
        for (const struct json *e = all ? all->child : NULL; e; e = e->next) {
            bool seen = false;
            for (const struct json *before = runners->child; before != r; before = before->next)
                seen = seen || json_get(json_get(before, "capabilities"), e->key.ptr);
            if (!seen)
                check_executor(d, runners, e->key);
        }
    }
}

static void check_runners(struct doctor *d, const struct response *r)
{
    struct arena arena;
    arena_init(&arena, 16U << 20);
    struct json *root = NULL;
    if (json_parse(&arena, strbuf_str(&r->body), 128, 8, &root, NULL) == ERR_OK) {
        const struct json *list = json_get(root, "runners");
        char found[64];
        snprintf(found, sizeof(found), "%zu", list ? list->count : 0);
        verdict(d, list && list->count > 0 ? FINE : WARN, "runners", found,
                "runs wait until there is one: start errand-runner with the same ERRAND_REDIS_URL and ERRAND_PREFIX");
        if (list && list->type == JSON_ARRAY && list->count > 0)
            check_executors(d, list);
        if (list && list->type == JSON_ARRAY)
            check_each_executor(d, list);
    }
    arena_done(&arena);
}

static void check_api(struct doctor *d)
{
    struct where w;
    const char *why = NULL;
    if (where_find(d->cli->url, &w, &why) != ERR_OK) {
        verdict(d, BAD, "API address", why, "set ERRAND_URL");
        return;
    }
    struct client *client = client_new(w.url, w.key);
    explicit_bzero(w.key, sizeof(w.key));
    if (!client)
        return;
    for (size_t i = 0; i < client_url_count(client); i++, client_next_url(client))
        check_node(d, client);
    struct response r;
    int status = ask(client, "/v1/runners", &r);
    if (status == 200) {
        verdict(d, FINE, "key", w.key_from, "");
        check_runners(d, &r);
    } else if (status == 401 || status == 403) {
        verdict(d, BAD, "key", client_has_key(client) ? "refused" : "none",
                "set ERRAND_KEY to the deployment's root key, or work below the folder of 'errand dev'");
    }
    response_done(&r);
    client_free(client);
}

/* ---- the audit ---- */

/* A variable's number, between min and max; `otherwise` where there is none. */
static int64_t number_from(const char *variable, int64_t min, int64_t max, int64_t otherwise)
{
    const char *given = getenv(variable);
    int64_t n = given ? strtoll(given, NULL, 10) : otherwise;
    return n < min || n > max ? otherwise : n;
}

static int audit(struct doctor *d, const char *urls, const char *prefix, int64_t shards, bool events)
{
    char found[4096], password[1024];
    const char *from_env = getenv("ERRAND_PREFIX");
    if (!find_redis_password(d, password, sizeof(password)))
        return EXIT_UNREACHABLE;
    if (!urls) {
        (void)find_redis_url(found, sizeof(found));
        urls = found;
    }
    struct doctor_audit o = {.urls = urls,
                             .login = {.user = getenv("ERRAND_REDIS_USER"), .password = password},
                             .prefix = prefix     ? prefix
                                       : from_env ? from_env
                                                  : PREFIX_DEFAULT,
                             .shards = (unsigned)(shards ? shards : number_from("ERRAND_SHARDS", 1, SHARDS_MAX, 1)),
                             .events = events};
    int status = strlen(o.prefix) > KEYS_PREFIX_MAX ? EXIT_USAGE : doctor_audit(d->cli, &o);
    explicit_bzero(password, sizeof(password));
    return status;
}

int cmd_doctor(struct cli *cli, const struct command *command, int argc, char **argv)
{
    bool audits = false, events = false;
    const char *urls = NULL, *prefix = NULL;
    int64_t shards = 0;
    const struct option table[] = {
        {.name = "audit", .type = OPTION_FLAG, .target = &audits, .help = "look at every run and key in Redis instead"},
        {.name = "events", .type = OPTION_FLAG, .target = &events, .help = "with --audit: read every event, too"},
        {.name = "redis-url",
         .type = OPTION_STRING,
         .target = &urls,
         .value = "URL",
         .help = "of --audit: where Redis is"},
        {.name = "prefix",
         .type = OPTION_STRING,
         .target = &prefix,
         .value = "TEXT",
         .help = "of --audit: what every key begins with (default errand:)"},
        {.name = "shards",
         .type = OPTION_INT,
         .target = &shards,
         .value = "N",
         .help = "of --audit: shards of the deployment (default 1)",
         .min = 1,
         .max = SHARDS_MAX},
    };
    struct options o = {.table = table, .count = ARRAY_LEN(table)};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    struct doctor d = {.cli = cli};
    if (!audits && (events || urls || prefix || shards))
        return cli_usage_error(command, "--events, --redis-url, --prefix and --shards go with --audit");
    if (prefix && strlen(prefix) > KEYS_PREFIX_MAX)
        return cli_usage_error(command, "--prefix is longer than %d bytes", KEYS_PREFIX_MAX);
    if (audits)
        return audit(&d, urls, prefix, shards, events);
    check_redis(&d);
    check_api(&d);
    check_machine(&d);
    if (!cli->json)
        printf("\n%s\n", d.bad ? "Something is wrong." : d.warned ? "It works; see the warnings." : "All is well.");
    return d.bad ? EXIT_RUN_ERROR : EXIT_OK;
}
