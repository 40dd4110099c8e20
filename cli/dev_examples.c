/* The examples of `errand dev`: registered, and run for the person who has just started it: a program, one in a sandbox, and a warm worker. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/definition.h"
#include "cli/dev.h"
#include "cli/output.h"
#include "common/limits.h"

bool dev_run_once(struct dev *d, const struct dev_once *what, int *ret_status)
{
    struct child *c = dev_child_add(d, what->name);
    c->once = true;
    c->logged = what->logged;
    for (size_t i = 0; what->args[i]; i++)
        dev_child_arg(c, what->args[i]);
    for (size_t i = 0; what->env[i]; i++)
        dev_child_env(c, what->env[i]);
    while (c->state != CHILD_ENDED) {
        if (!dev_turn(d, 60000))
            return false;
    }
    *ret_status = WIFEXITED(c->status) ? WEXITSTATUS(c->status) : EXIT_RUN_ERROR;
    d->count--; /* it was the last: nothing is added meanwhile */
    return true;
}

void dev_last_line(const struct dev *d, const char *name, char *ret_line, size_t cap)
{
    char path[PATH_MAX + 64], buf[4097];
    snprintf(path, sizeof(path), "%s/logs/%s.log", d->folder, name);
    ret_line[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    (void)lseek(fd, end > 4096 ? end - 4096 : 0, SEEK_SET);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    while (n > 0 && buf[n - 1] == '\n')
        n--;
    buf[n > 0 ? n : 0] = '\0';
    const char *line = strrchr(buf, '\n');
    snprintf(ret_line, cap, "%s", line ? line + 1 : buf);
}

/* ---- registering ---- */

static bool has(const struct dev_show *s, const char *executor)
{
    return strstr(s->executors, executor) != NULL;
}

/* Registers examples/NAME/agent.json. A node that is only just up may still be busy: the client waits that out. */
static bool put_example(struct dev *d, const char *folder, const char *name)
{
    char path[PATH_MAX * 2], found[LIMIT_NAME + 2];
    snprintf(path, sizeof(path), "%s/%s/agent.json", folder, name);
    if (access(path, R_OK) != 0)
        return true;
    struct strbuf body, target;
    strbuf_init(&body, LIMIT_DEFINITION * 2);
    strbuf_init(&target, 4096);
    bool ok = definition_read(path, NULL, &body, found, sizeof(found)) && found[0];
    struct client *client = cli_client(d->cli);
    if (ok && client) {
        struct response r;
        strbuf_addz(&target, "/v1/agents/");
        url_encode(&target, str_of(found));
        client_send(client, &(struct request){.method = "PUT", .path = target.ptr, .body = strbuf_str(&body)}, &r);
        ok = response_ok(&r);
        if (!ok)
            (void)client_complain(client, &r);
        response_done(&r);
    }
    strbuf_done(&body);
    strbuf_done(&target);
    return ok;
}

/* One that ships with its code, as anybody would push it. */
static bool push_example(struct dev *d, const struct dev_show *s, const char *name)
{
    char folder[PATH_MAX * 2], line[512];
    int status = 0;
    snprintf(folder, sizeof(folder), "%s/%s", s->folder, name);
    const char *const args[] = {s->program, "agents", "push", folder, NULL};
    if (access(folder, R_OK) != 0)
        return true;
    if (!dev_run_once(d, &(struct dev_once){"example-push", args, s->client, true}, &status))
        return true; /* the person asked to end: nothing to complain about */
    if (status != 0) {
        dev_last_line(d, "example-push", line, sizeof(line));
        cli_say("%s can't be pushed: %s", folder, line);
    }
    return status == 0;
}

bool dev_put_examples(struct dev *d, const struct dev_show *s)
{
    static const char *const placed[] = {"hello", "log-triage", "repo-report", "pool-worker"};
    static const char *const pushed[] = {"look-around", "hello-python", "hello-node", "hello-shell"};
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(placed); i++)
        ok = put_example(d, s->folder, placed[i]) && ok;
    for (size_t i = 0; i < ARRAY_LEN(pushed) && has(s, "sandbox"); i++)
        ok = push_example(d, s, pushed[i]) && ok;
    return ok;
}

/* ---- running ---- */

/* {"path": the folder that the examples are part of}, as text to be freed by strbuf_done. */
static void write_repository(struct strbuf *out, const char *folder)
{
    struct json_writer w;
    const char *slash = strrchr(folder, '/');
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "path", slash && slash > folder ? (struct str){folder, (size_t)(slash - folder)} : STR("/"));
    json_object_end(&w);
}

struct shown {
    const char *title, *agent, *input;
    const char *require;  /* a runner's tag, or NULL */
    const char *executor; /* that it needs */
};

/* One run on this terminal. False once the person asked to end. */
static bool show(struct dev *d, const struct dev_show *s, const struct shown *what, int *ret_status)
{
    const char *args[16] = {s->program, "run", what->agent, "--label", "source=errand-dev", "--follow"};
    size_t n = 6;
    if (what->input) {
        args[n++] = "--input";
        args[n++] = what->input;
    }
    if (what->require) {
        args[n++] = "--require";
        args[n++] = what->require;
    }
    printf("\n%s%s%s\n", tone_on(d->cli, TONE_BOLD), what->title, tone_off(d->cli, TONE_BOLD));
    return dev_run_once(d, &(struct dev_once){"example", args, s->client, false}, ret_status);
}

int dev_show_examples(struct dev *d, const struct dev_show *s)
{
    struct strbuf input;
    int worst = EXIT_OK, status;
    bool on = true;
    strbuf_init(&input, PATH_MAX * 2 + 64);
    write_repository(&input, s->folder);
    const struct shown list[] = {
        {"repo-report: a program, on the repository that the examples are part of", "repo-report", input.ptr, NULL,
         "process"},
        {"look-around: in a sandbox", "look-around", NULL, NULL, "sandbox"},
        {"pool-worker: a worker that stays", "pool-worker", "{\"letters\": \"listen\"}", "node=runner-1", "pool"},
        {"pool-worker: the same worker again", "pool-worker", "{\"letters\": \"stale\"}", "node=runner-1", "pool"},
    };
    for (size_t i = 0; i < ARRAY_LEN(list) && on; i++) {
        if (!has(s, list[i].executor))
            continue;
        on = show(d, s, &list[i], &status);
        if (on && status > worst)
            worst = status;
    }
    strbuf_done(&input);
    return on ? worst : EXIT_DETACHED;
}
