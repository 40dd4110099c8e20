/* Finding out what this machine can do: a sandbox is really started, and what runs in it looks around. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runner/sandbox_parts.h"
#include "runner/seccomp_filter.h"

enum { PROBE_MS = 10000, PATH_LEN = 512, SAID_MAX = 400, COPY_MAX = 4 << 20, COPY_STEP = 65536 };

struct probe {
    struct loop *loop;
    struct exec_job *job;
    struct loop_timer timer;
    bool over, timed_out, listened;
    struct job_exit how;
    char message[256];
    struct strbuf said; /* what bubblewrap and the command wrote */
};

static void on_started(void *ctx, struct str handle)
{
    (void)ctx;
    (void)handle;
}

static void on_output(void *ctx, enum job_stream stream, struct str bytes)
{
    struct probe *p = ctx;
    (void)stream;
    if (p->said.len + bytes.len <= SAID_MAX)
        strbuf_add(&p->said, bytes);
}

static void on_gone(void *ctx, const struct job_exit *how)
{
    struct probe *p = ctx;
    p->how = *how;
    p->over = true;
    snprintf(p->message, sizeof p->message, "%s", how->message ? how->message : "");
    loop_timer_stop(&p->timer);
}

static void on_probe_time(void *ctx)
{
    struct probe *p = ctx;
    p->timed_out = true;
    exec_job_stop(p->job, 0);
}

/* Each line is something that the sandbox promises; the first that does not hold is what is said. $1 is a file beside the runner's own. */
#define LOOK                                                                                                           \
    "fail() { echo \"$1\"; exit 1; }\n"                                                                                \
    "[ \"$(id -u)\" != 0 ] || fail 'its user is root'\n"                                                               \
    "(: > /usr/.errand) 2>/dev/null && fail 'it can write to /usr'\n"                                                  \
    "[ ! -e \"$1\" ] || fail \"it sees the runner's files\"\n"                                                         \
    "[ \"$(grep -c : /proc/net/dev)\" = 1 ] || fail 'it sees the network interfaces of the machine'\n"                 \
    "[ \"$(echo /proc/[0-9]*/stat | wc -w)\" -lt 8 ] || fail 'it sees processes of the machine'\n"                     \
    "grep -q '^Seccomp:.2' /proc/self/status || fail 'it has no seccomp filter'\n"                                     \
    "grep -q '^CapEff:.0*$' /proc/self/status || fail 'it has capabilities'\n"                                         \
    "grep -q '^NoNewPrivs:.1' /proc/self/status || fail 'it may gain privileges'\n"

static void look(struct sandbox *s, struct probe *p, const char *folder, const char *beside)
{
    static const struct job_events events = {.started = on_started, .output = on_output, .gone = on_gone};
    static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
    static const char *const nobody[] = {NULL};
    const char *const command[] = {"/bin/sh", "-c", LOOK, "sh", beside, NULL};
    const char *why = "";
    const struct job_spec spec = {.run_id = STR("probe"),
                                  .command = command,
                                  .env = env,
                                  .workdir = folder,
                                  .private = folder,
                                  .limits = {.disk_bytes = 1 << 20},
                                  .network = NETWORK_FILTERED,
                                  .allow_hosts = nobody};
    struct exec_plan plan = {.grace_ms = 0};
    struct sandbox_plan *box = sandbox_plan_new(s, &spec, NULL, NULL, &why);
    if (box) {
        sandbox_plan_apply(box, &plan);
        p->job = exec_job_start(s->x->loop, &plan, &events, p, &why);
        sandbox_plan_begun(box);
    }
    if (box && p->job) {
        loop_timer_set(&p->timer, PROBE_MS);
        while (!p->over)
            uv_run(loop_uv(s->x->loop), UV_RUN_ONCE);
        p->listened = net_proxy_listens(box->proxy);
    } else {
        snprintf(p->message, sizeof p->message, "%s", why);
    }
    sandbox_plan_free(box);
}

/* What is missing, in one sentence. */
static enum err judge(const struct sandbox *s, const struct probe *p, struct strbuf *why)
{
    struct str said = strbuf_str(&p->said);
    while (said.len > 0 && said.ptr[said.len - 1] == '\n')
        said.len--;
    const char *cut = said.len ? memchr(said.ptr, '\n', said.len) : NULL;
    if (cut)
        said.len = (size_t)(cut - said.ptr);
    if (p->timed_out) {
        strbuf_addz(why, "executors: a first sandbox did not end in time");
    } else if (!p->how.started) {
        strbuf_addf(why, "executors: sandbox can't be used here (%.*s%s%s); %s", STR_ARG(said),
                    said.len && p->message[0] ? "; " : "", p->message,
                    s->root ? "as root it needs CAP_SYS_ADMIN, seccomp, and user namespaces for ordinary users"
                            : "it needs user namespaces for ordinary users (kernel.unprivileged_userns_clone, "
                              "user.max_user_namespaces, AppArmor) and seccomp");
    } else if (p->how.signaled || p->how.code != 0) {
        strbuf_addf(why, "executors: sandbox does not contain what runs in it: %.*s", STR_ARG(said));
    } else if (!p->listened) {
        strbuf_addz(why, "executors: sandbox can't listen within a network namespace");
    } else {
        return ERR_OK;
    }
    return ERR_CONFIG;
}

static enum err probe(struct sandbox *s, struct strbuf *why)
{
    char folder[PATH_LEN], beside[PATH_LEN + 8];
    const char *temporary = getenv("TMPDIR"), *base = s->x->config->work_dir;
    if (!base[0])
        base = temporary ? temporary : "/tmp";
    snprintf(folder, sizeof folder, "%.400s/errand-probe-XXXXXX", base);
    if (!mkdtemp(folder)) {
        strbuf_addf(why, "work-dir: can't make a folder in %s: %s", base, strerror(errno));
        return ERR_CONFIG;
    }
    snprintf(beside, sizeof beside, "%s.seen", folder);
    FILE *f = fopen(beside, "wxe");
    if (f)
        (void)fclose(f);
    struct probe p = {.loop = s->x->loop};
    strbuf_init(&p.said, SAID_MAX);
    loop_timer_init(&p.timer, s->x->loop, on_probe_time, &p);
    look(s, &p, folder, beside);
    enum err err = judge(s, &p, why);
    strbuf_done(&p.said);
    (void)unlink(beside);
    (void)rmdir(folder);
    return err;
}

static bool find_bwrap(struct sandbox *s)
{
    static const char *const places[] = {"/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (access(places[i], X_OK) == 0) {
            snprintf(s->bwrap, sizeof s->bwrap, "%s", places[i]);
            return true;
        }
    return false;
}

/* A copy of one of the machine's small files, as it is now; -1 where there is none. */
static int copy_file(const char *path)
{
    struct strbuf text;
    ssize_t n = 1;
    int from = open(path, O_RDONLY | O_CLOEXEC), fd = -1;
    strbuf_init(&text, COPY_MAX);
    while (from >= 0 && n > 0) {
        char *at = strbuf_grow(&text, COPY_STEP);
        n = at ? read(from, at, COPY_STEP) : -1;
        if (n > 0)
            text.len += (size_t)n;
    }
    if (from >= 0) {
        close(from);
        if (n == 0)
            fd = sandbox_memory_file("errand-etc", strbuf_str(&text));
    }
    strbuf_done(&text);
    return fd;
}

static bool make_files(struct sandbox *s)
{
    char passwd[256], group[128];
    struct strbuf filter;
    long long id = (long long)s->x->config->sandbox_uid;
    snprintf(passwd, sizeof passwd, "root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:%lld:%lld:agent:/tmp:/bin/sh\n", id,
             id);
    snprintf(group, sizeof group, "root:x:0:\nagent:x:%lld:\n", id);
    s->files[FILE_PASSWD] = sandbox_memory_file("errand-passwd", str_of(passwd));
    s->files[FILE_GROUP] = sandbox_memory_file("errand-group", str_of(group));
    s->files[FILE_HOSTS] = sandbox_memory_file("errand-hosts", STR("127.0.0.1 localhost sandbox\n::1 localhost\n"));
    for (size_t i = FILE_HOSTS + 1; i < SANDBOX_FILES; i++)
        s->files[i] = copy_file(sandbox_file_paths[i]);
    s->helper = open(s->x->exec_path, O_RDONLY | O_CLOEXEC);
    strbuf_init(&filter, SECCOMP_FILTER_MAX);
    if (seccomp_filter_build(&filter) == ERR_OK)
        s->filter = sandbox_memory_file("errand-filter", strbuf_str(&filter));
    strbuf_done(&filter);
    return s->files[FILE_PASSWD] >= 0 && s->files[FILE_GROUP] >= 0 && s->files[FILE_HOSTS] >= 0 && s->filter >= 0 &&
           s->helper >= 0;
}

enum err sandbox_open(const struct executor_context *x, struct sandbox **ret_sandbox, struct strbuf *ret_why)
{
    struct sandbox *s = calloc(1, sizeof *s);
    enum err err = ERR_OK;
    if (!s)
        return ERR_NO_MEMORY;
    s->x = x;
    s->root = geteuid() == 0;
    s->filter = s->helper = -1;
    for (size_t i = 0; i < SANDBOX_FILES; i++)
        s->files[i] = -1;
    if (!find_bwrap(s)) {
        strbuf_addz(ret_why, "executors: sandbox needs bubblewrap (bwrap); install the package bubblewrap");
        err = ERR_CONFIG;
    } else if (!make_files(s)) {
        strbuf_addz(ret_why, "executors: sandbox could not build its seccomp filter and files in memory");
        err = ERR_CONFIG;
    } else {
        err = probe(s, ret_why);
    }
    if (!err)
        *ret_sandbox = s;
    else
        sandbox_close(s);
    return err;
}

void sandbox_close(struct sandbox *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < SANDBOX_FILES; i++)
        if (s->files[i] >= 0)
            close(s->files[i]);
    if (s->filter >= 0)
        close(s->filter);
    if (s->helper >= 0)
        close(s->helper);
    free(s);
}
