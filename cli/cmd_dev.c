/* errand dev: all of Errand on one machine, supervised: a private Redis, API nodes, runners, the examples, and some runs to look at. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/dev.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/redis_sync.h"
#include "cli/where.h"
#include "common/clock.h"

#define START_MS 30000 /* for Redis, for the nodes, for the runners each */
#define ENDS_MAX 4     /* a child that ended this often while all is being started never will work */

struct dev_options {
    bool once, no_example;
    int64_t nodes, runners, port;
    const char *dir;
};

/* What the children's lists borrow; lives as long as they do. */
struct dev_text {
    char redis_program[PATH_MAX], api_program[PATH_MAX], runner_program[PATH_MAX], own_program[PATH_MAX],
        examples[PATH_MAX];
    char key[256], master_key[128], master_key_env[160], root_key_env[300], key_env[300], url_env[1200], urls[1024];
    char redis_url[PATH_MAX + 16], redis_env[PATH_MAX + 64], redis_dir[PATH_MAX + 16];
    char work_env[PATH_MAX + 64], api_base_env[128];
    char listen_env[DEV_NODES_MAX][64], node_env[2 * DEV_NODES_MAX][64];
    char executors_env[256], tags_env[DEV_NODES_MAX][512];
    int ports[DEV_NODES_MAX];
};

/* ---- what has to be there ---- */

static bool find_programs(struct dev_text *t)
{
    if (!where_program("redis-server", t->redis_program)) {
        cli_say("redis-server is not installed: apt-get install redis-server");
        return false;
    }
    ssize_t n = readlink("/proc/self/exe", t->own_program, sizeof(t->own_program) - 1);
    t->own_program[n > 0 ? n : 0] = '\0';
    char exec_program[PATH_MAX];
    if (!where_program("errand-api", t->api_program) || !where_program("errand-runner", t->runner_program) ||
        !where_program("errand-exec", exec_program)) {
        cli_say("errand-api, errand-runner and errand-exec have to be beside %s: build them with ./dev build",
                t->own_program);
        return false;
    }
    return true;
}

static bool find_ports(struct dev_text *t, const struct dev_options *o)
{
    for (int64_t i = 0; i < o->nodes; i++) {
        char who[128];
        int port = o->port ? (int)(o->port + i) : dev_port_any();
        /* The same free port may be offered twice. */
        for (int64_t k = 0; k < i && !o->port; k++)
            port = t->ports[k] == port ? port + 1 : port;
        if (port == 0 || !dev_port_free(port, who, sizeof(who))) {
            cli_say("port %d is taken, by %s: end that, or choose other ports with --port", port,
                    port ? who : "everybody");
            return false;
        }
        t->ports[i] = port;
        size_t used = strlen(t->urls);
        snprintf(t->urls + used, sizeof(t->urls) - used, "%shttp://127.0.0.1:%d", i ? "," : "", port);
    }
    return true;
}

/* ---- the children ---- */

static void add_redis(struct dev *d, struct dev_text *t)
{
    struct child *c = dev_child_add(d, "redis");
    snprintf(t->redis_dir, sizeof(t->redis_dir), "%s/redis", d->folder);
    const char *args[] = {t->redis_program, "--port",           "0",   "--unixsocket",
                          d->socket,        "--unixsocketperm", "700", "--dir",
                          t->redis_dir,     "--appendonly",     "yes", "--appendfsync",
                          "everysec",       "--save",           "",    "--maxmemory-policy",
                          "noeviction",     "--daemonize",      "no"};
    for (size_t i = 0; i < ARRAY_LEN(args); i++)
        dev_child_arg(c, args[i]);
}

static void add_nodes(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    for (int64_t i = 0; i < o->nodes; i++) {
        char name[32];
        snprintf(name, sizeof(name), "api-%d", (int)i + 1);
        struct child *c = dev_child_add(d, name);
        snprintf(t->listen_env[i], sizeof(t->listen_env[i]), "ERRAND_LISTEN=127.0.0.1:%d", t->ports[i]);
        snprintf(t->node_env[i], sizeof(t->node_env[i]), "ERRAND_NODE=%s", name);
        dev_child_arg(c, t->api_program);
        dev_child_env(c, t->redis_env);
        dev_child_env(c, t->root_key_env);
        dev_child_env(c, t->master_key_env);
        dev_child_env(c, t->listen_env[i]);
        dev_child_env(c, t->node_env[i]);
        if (!getenv("ERRAND_DRAIN_MS"))
            dev_child_env(c, "ERRAND_DRAIN_MS=1000");
    }
}

/* Which executors the runners get: what the person says; else all that need nothing but this machine. Whether it can contain agents a runner finds out by trying: without sandboxes the rest
 * works as well. False once the person asked to end. */
static bool choose_executors(struct dev *d, struct dev_text *t)
{
    const char *given = getenv("ERRAND_EXECUTORS");
    char why[512];
    int status = 0;
    snprintf(t->work_env, sizeof(t->work_env), "ERRAND_WORK_DIR=%s/work", d->folder);
    snprintf(t->executors_env, sizeof(t->executors_env), "ERRAND_EXECUTORS=%s", given ? given : "");
    if (given && *given)
        return true;
    const char *const args[] = {t->runner_program, NULL};
    const char *const env[] = {"ERRAND_CHECK_EXECUTORS=true", "ERRAND_EXECUTORS=sandbox", "ERRAND_NODE=runner-check",
                               t->work_env, NULL};
    if (!dev_run_once(d, &(struct dev_once){"runner-check", args, env, true}, &status))
        return false;
    if (status != 0) {
        dev_last_line(d, "runner-check", why, sizeof(why));
        const char *reason = strstr(why, "executors: ");
        cli_say("agents can't have a sandbox on this machine: %s", reason ? reason + strlen("executors: ") : why);
    }
    snprintf(t->executors_env, sizeof(t->executors_env), "ERRAND_EXECUTORS=process%s,pool,http,anthropic",
             status == 0 ? ",sandbox" : "");
    return true;
}

static void add_runners(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    snprintf(t->api_base_env, sizeof(t->api_base_env), "ERRAND_API_BASE=http://127.0.0.1:%d", t->ports[0]);
    for (int64_t i = 0; i < o->runners; i++) {
        char name[32], *env = t->node_env[DEV_NODES_MAX + i];
        snprintf(name, sizeof(name), "runner-%d", (int)i + 1);
        struct child *c = dev_child_add(d, name);
        snprintf(env, sizeof(t->node_env[0]), "ERRAND_NODE=%s", name);
        dev_child_arg(c, t->runner_program);
        dev_child_env(c, t->redis_env);
        dev_child_env(c, t->master_key_env);
        dev_child_env(c, env);
        dev_child_env(c, t->work_env);
        dev_child_env(c, t->api_base_env);
        dev_child_env(c, t->executors_env);
        /* A tag of its own, so that a run can ask for the runner where a worker is warm. */
        const char *tags = getenv("ERRAND_TAGS");
        snprintf(t->tags_env[i], sizeof(t->tags_env[i]), "ERRAND_TAGS=%s%snode=%s", tags ? tags : "",
                 tags && *tags ? "," : "", name);
        dev_child_env(c, t->tags_env[i]);
        if (!getenv("ERRAND_DRAIN_MS"))
            dev_child_env(c, "ERRAND_DRAIN_MS=1000");
    }
}

/* ---- readiness, by asking ---- */

typedef bool (*ready_fn)(struct dev *d, struct dev_text *t, const struct dev_options *o);

static bool redis_ready(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    (void)d;
    (void)o;
    struct strbuf why;
    strbuf_init(&why, 1024);
    redisContext *c = redis_sync_connect(t->redis_url, &(struct redis_login){0}, 1000, &why);
    strbuf_done(&why);
    if (c)
        redisFree(c);
    return c != NULL;
}

/* Asks each node in turn. */
static bool nodes_ready(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    (void)d;
    struct client *client = client_new(t->urls, "");
    bool ready = client != NULL;
    for (int64_t i = 0; i < o->nodes && ready; i++) {
        struct response r;
        client_send(client, &(struct request){.method = "GET", .path = "/readyz", .timeout_ms = 1000, .once = true},
                    &r);
        ready = r.status == 200;
        response_done(&r);
        client_next_url(client);
    }
    client_free(client);
    return ready;
}

static bool runners_ready(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    struct client *client = cli_client(d->cli);
    (void)t;
    struct response r = {0};
    struct arena arena;
    arena_init(&arena, 16U << 20);
    struct json *root = NULL;
    size_t live = 0;
    if (client)
        client_send(client, &(struct request){.method = "GET", .path = "/v1/runners", .timeout_ms = 1000, .once = true},
                    &r);
    if (r.status == 200 && json_parse(&arena, strbuf_str(&r.body), 128, 8, &root, NULL) == ERR_OK) {
        const struct json *list = json_get(root, "runners");
        live = list && list->type == JSON_ARRAY ? list->count : 0;
    }
    arena_done(&arena);
    response_done(&r);
    return live >= (size_t)o->runners;
}

static const struct child *hopeless_child(const struct dev *d)
{
    for (size_t i = 0; i < d->count; i++) {
        if (!d->children[i].once && d->children[i].ends >= ENDS_MAX)
            return &d->children[i];
    }
    return NULL;
}

static bool wait_ready(struct dev *d, struct dev_text *t, const struct dev_options *o, const char *what, ready_fn ready)
{
    int64_t until = clock_mono_ms() + START_MS;
    /* The first turn starts them, without a wait. */
    for (int64_t pause_ms = 0;; pause_ms = 20) {
        if (!dev_turn(d, pause_ms))
            return false;
        if (ready(d, t, o))
            return true;
        const struct child *c = hopeless_child(d);
        if (c || clock_mono_ms() > until) {
            cli_say("%s did not start; see %s/logs/", what, d->folder);
            for (size_t i = 0; i < d->count; i++) {
                if (c == &d->children[i] || (!c && strncmp(d->children[i].name, what, 3) == 0))
                    dev_show_log(d, &d->children[i]);
            }
            return false;
        }
    }
}

/* ---- all together ---- */

static void prepare_text(struct dev *d, struct dev_text *t)
{
    snprintf(t->root_key_env, sizeof(t->root_key_env), "ERRAND_ROOT_KEY=%s", t->key);
    snprintf(t->master_key_env, sizeof(t->master_key_env), "ERRAND_MASTER_KEY=%s", t->master_key);
    snprintf(t->key_env, sizeof(t->key_env), "ERRAND_KEY=%s", t->key);
    snprintf(t->url_env, sizeof(t->url_env), "ERRAND_URL=%s", t->urls);
    snprintf(t->redis_url, sizeof(t->redis_url), "unix://%s", d->socket);
    snprintf(t->redis_env, sizeof(t->redis_env), "ERRAND_REDIS_URL=%s", t->redis_url);
}

static void print_urls(struct dev *d, const struct dev_text *t, const struct dev_options *o)
{
    const struct cli *cli = d->cli;
    printf("%sErrand is up%s: Redis, %lld API node%s, %lld runner%s\n", tone_on(cli, TONE_GOOD),
           tone_off(cli, TONE_GOOD), (long long)o->nodes, o->nodes == 1 ? "" : "s", (long long)o->runners,
           o->runners == 1 ? "" : "s");
    for (int64_t i = 0; i < o->nodes; i++)
        printf("  API    http://127.0.0.1:%d\n", t->ports[i]);
    printf("  key    %s/key\n  logs   %s/logs/\n", d->folder, d->folder);
    (void)cli_flush(d->cli);
}

/* A path as a word for a shell. */
static void add_shell_word(struct strbuf *out, const char *path)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+,:@%";
    bool quoted = strspn(path, plain) < strlen(path);
    if (quoted)
        strbuf_addc(out, '\'');
    for (; *path; path++) {
        if (*path == '\'')
            strbuf_addz(out, "'\\''");
        else
            strbuf_addc(out, *path);
    }
    if (quoted)
        strbuf_addc(out, '\'');
}

/* Where it serves once more, since the example's output may have moved it off the screen, and what may be done there. */
static void print_hints(struct dev *d, const struct dev_text *t, const struct dev_options *o)
{
    const char *program = d->cli->program;
    char key_path[PATH_MAX + 8], found[PATH_MAX];
    struct strbuf key;
    strbuf_init(&key, sizeof(key_path) * 4);
    snprintf(key_path, sizeof(key_path), "%s/key", d->folder);
    add_shell_word(&key, key_path);
    putchar('\n');
    print_urls(d, t, o);
    printf("\nTry, in another terminal in this folder:\n");
    /* Another folder is not found by the commands. */
    if (!where_dev_folder(found) || strcmp(found, d->folder) != 0)
        printf("  export ERRAND_URL=%s ERRAND_KEY=$(cat %s)\n", t->urls, key.ptr);
    printf("  %s run hello --follow\n"
           "  %s list\n"
           "  curl -H \"Authorization: Bearer $(cat %s)\" http://127.0.0.1:%d/v1/runs\n"
           "Ctrl-C ends all of it.\n",
           program, program, key.ptr, t->ports[0]);
    strbuf_done(&key);
    (void)cli_flush(d->cli);
}

/* A Redis that a killed supervisor left is still ending: its data must not be opened twice. */
static bool wait_for_old_redis(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    int64_t until = clock_mono_ms() + 10000;
    while (redis_ready(d, t, o)) {
        if (clock_mono_ms() > until) {
            cli_say("another Redis serves %s already: end it first", d->socket);
            return false;
        }
        if (interrupt_wait(50))
            return false;
    }
    return true;
}

/* Everything from Redis to the last runner. */
static bool bring_up(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    if (!wait_for_old_redis(d, t, o))
        return false;
    add_redis(d, t);
    if (!wait_ready(d, t, o, "redis", redis_ready))
        return false;
    add_nodes(d, t, o);
    if (!wait_ready(d, t, o, "api", nodes_ready))
        return false;
    d->cli->client = client_new(t->urls, t->key);
    if (!choose_executors(d, t))
        return false;
    add_runners(d, t, o);
    return wait_ready(d, t, o, "runner", runners_ready) && dev_folder_write(d, "url", t->urls) &&
           dev_folder_write(d, "redis-url", t->redis_url);
}

static void take_down(struct dev *d)
{
    status_show(d->cli, "ending…");
    dev_children_end(d, "example", 2000);
    dev_children_end(d, "runner", 15000);
    dev_children_end(d, "api", 5000);
    dev_children_end(d, "redis", 15000);
    status_clear(d->cli);
}

static int supervise(struct dev *d, struct dev_text *t, const struct dev_options *o)
{
    if (!bring_up(d, t, o))
        return interrupted() ? EXIT_OK : EXIT_RUN_ERROR;
    print_urls(d, t, o);
    int example = EXIT_OK;
    if (!where_examples(t->examples)) {
        cli_say("no examples were found; ERRAND_EXAMPLES may name their folder");
        example = EXIT_USAGE;
    } else {
        struct dev_show show = {t->own_program, t->examples, {t->url_env, t->key_env, NULL}, t->executors_env};
        if (!dev_put_examples(d, &show))
            example = EXIT_RUN_ERROR;
        else if (!o->no_example)
            example = dev_show_examples(d, &show);
    }
    if (o->once || interrupted())
        return interrupted() && !o->once ? EXIT_OK : example;
    print_hints(d, t, o);
    while (dev_turn(d, 60000))
        ;
    return EXIT_OK;
}

int cmd_dev(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct dev_options r = {.nodes = 2, .runners = 2, .port = 7070, .dir = ".errand"};
    const struct option table[] = {
        {.name = "once",
         .type = OPTION_FLAG,
         .target = &r.once,
         .help = "end after the examples, with the worst exit status"},
        {.name = "nodes",
         .type = OPTION_INT,
         .target = &r.nodes,
         .value = "N",
         .help = "API nodes (default 2)",
         .min = 1,
         .max = DEV_NODES_MAX},
        {.name = "runners",
         .type = OPTION_INT,
         .target = &r.runners,
         .value = "N",
         .help = "runners (default 2)",
         .min = 1,
         .max = DEV_NODES_MAX},
        {.name = "port",
         .type = OPTION_INT,
         .target = &r.port,
         .value = "PORT",
         .help = "port of the first node, the others follow (default 7070; 0: free ones)",
         .min = 0,
         .max = 65535 - DEV_NODES_MAX},
        {.name = "dir",
         .type = OPTION_STRING,
         .target = &r.dir,
         .value = "FOLDER",
         .help = "where data, logs and key are (default .errand)"},
        {.name = "no-example",
         .type = OPTION_FLAG,
         .target = &r.no_example,
         .help = "register the examples, but run none"},
    };
    struct options o = {.table = table, .count = ARRAY_LEN(table), .local = true};
    int status;
    if (!cli_options(cli, command, &o, 0, argc, argv, &status))
        return status;
    struct dev *d = calloc(1, sizeof(*d));
    struct dev_text *t = calloc(1, sizeof(*t));
    status = EXIT_USAGE;
    if (d && t && find_programs(t)) {
        *d = (struct dev){.cli = cli, .lock_fd = -1, .child_fd = -1};
        if (dev_folder_open(d, r.dir, t->key, sizeof(t->key)) &&
            dev_folder_master_key(d, t->master_key, sizeof(t->master_key)) && find_ports(t, &r) &&
            dev_children_begin(d)) {
            prepare_text(d, t);
            status = supervise(d, t, &r);
            take_down(d);
        }
        dev_folder_close(d);
    }
    if (d && d->child_fd >= 0)
        close(d->child_fd);
    free(d);
    if (t)
        explicit_bzero(t, sizeof(*t));
    free(t);
    return status;
}
