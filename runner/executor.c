#include "runner/executor.h"

#include "common/json.h"
#include "runner/cgroup.h"

static const struct executor *const table[] = {&executor_process, &executor_sandbox,   &executor_pool,
                                               &executor_http,    &executor_anthropic, &executor_container,
                                               &executor_fly,     &executor_noop};
_Static_assert(ARRAY_LEN(table) <= EXECUTORS_MAX, "room for each executor");

const char *const executor_capabilities[] = {"timeout",
                                             "process_isolation",
                                             "network_isolation",
                                             "network_filtering",
                                             "filesystem_isolation",
                                             "memory_limit",
                                             "cpu_limit",
                                             "reset",
                                             "deps_install",
                                             "deps_uninstall",
                                             NULL};

const struct executor *executor_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_eqz(name, table[i]->name))
            return table[i];
    return NULL;
}

const struct executor *executor_at(size_t i)
{
    return i < ARRAY_LEN(table) ? table[i] : NULL;
}

void executor_handle(const struct executor *e, struct str handle, struct strbuf *out)
{
    struct strbuf url;
    strbuf_init(&url, 1024);
    bool shown = e->console_url && handle.len > 2 && e->console_url(handle, &url) && !strbuf_failed(&url);
    strbuf_add(out, (struct str){handle.ptr, handle.len - (shown ? 1 : 0)});
    if (shown) {
        strbuf_addz(out, ",\"consoleUrl\":");
        json_quote(out, strbuf_str(&url));
        strbuf_addc(out, '}');
    }
    strbuf_done(&url);
}

size_t executor_index(const struct executor *e)
{
    size_t i = 0;
    while (table[i] != e)
        i++;
    return i;
}

static enum err unknown(struct str word, struct strbuf *ret_why)
{
    strbuf_addf(ret_why,
                "executors: \"%.*s\" is not one of this version; it has:", (int)(word.len > 64 ? 64 : word.len),
                word.ptr);
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        strbuf_addf(ret_why, "%s %s", i > 0 ? "," : "", table[i]->name);
    return ERR_CONFIG;
}

enum err executors_open(struct executor_context *x, struct executor_self **ret_self, bool *ret_open,
                        struct strbuf *ret_why)
{
    struct str list = str_of(x->config->executors), word;
    const char *root = x->config->cgroup_root;
    if (*root && strcmp(root, "none") != 0 && (*root != '/' || strstr(root, "..") || strlen(root) > 200)) {
        strbuf_addz(ret_why, "cgroup-root: a path below the mount points of the control groups, like /errand, or none");
        return ERR_CONFIG;
    }
    if (cgroups_open(x->config, x->loop, &x->cgroups) != ERR_OK)
        return ERR_NO_MEMORY;
    while (str_next_word(&list, &word)) {
        const struct executor *e = executor_find(word);
        if (!e)
            return unknown(word, ret_why);
        size_t i = executor_index(e);
        if (ret_open[i])
            continue;
        enum err err = e->open(x, &ret_self[i], ret_why);
        if (err)
            return err;
        ret_open[i] = true;
    }
    return ERR_OK;
}

void executors_sweep(const struct executor_context *x, struct executor_self **self, const bool *open,
                     const struct job_owner *keep, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (open[i] && table[i]->sweep)
            table[i]->sweep(self[i], keep, n);
    cgroups_sweep(x->cgroups, keep, n);
}

void executors_drain(struct executor_self **self, const bool *open)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (open[i] && table[i]->drain)
            table[i]->drain(self[i]);
}

void executors_close(struct executor_context *x, struct executor_self **self, const bool *open)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (open[i])
            table[i]->close(self[i]);
    cgroups_close(x->cgroups);
    x->cgroups = NULL;
}
