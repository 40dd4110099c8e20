/* bubblewrap's command line. What stands here is all that an agent can see: an empty root, to which is added what programs need to run. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/errand_exec_inside.h"
#include "runner/sandbox_parts.h"

static void put(struct sandbox_plan *p, const char *word)
{
    if (!word || p->word_count == SANDBOX_WORDS_MAX)
        p->failed = true;
    else
        p->words[p->word_count++] = word;
}

static void put2(struct sandbox_plan *p, const char *a, const char *b)
{
    put(p, a);
    put(p, b);
}

static void put3(struct sandbox_plan *p, const char *a, const char *b, const char *c)
{
    put2(p, a, b);
    put(p, c);
}

static const char *number(struct sandbox_plan *p, int64_t n)
{
    return arena_printf(&p->arena, "%lld", (long long)n);
}

static void put_number(struct sandbox_plan *p, const char *option, int64_t n)
{
    put2(p, option, number(p, n));
}

/* The folders above a path, for all to pass: those that bubblewrap makes by itself are its own user's alone. */
static void put_parents(struct sandbox_plan *p, const char *path)
{
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        put2(p, "--perms", "0755");
        put2(p, "--dir", arena_strdup(&p->arena, (struct str){path, (size_t)(slash - path)}));
    }
}

/* Read-only, under the path that it has; what the machine does not have is left out. */
static void show(struct sandbox_plan *p, const char *path)
{
    if (access(path, F_OK) == 0)
        put3(p, "--ro-bind", path, path);
}

/* /bin is a link to usr/bin on merged systems, a folder on others. */
static void show_or_link(struct sandbox_plan *p, const char *path)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n > 0)
        put3(p, "--symlink", arena_strdup(&p->arena, (struct str){target, (size_t)n}), path);
    else
        show(p, path);
}

static void put_tmpfs(struct sandbox_plan *p, const char *path, int64_t bytes, const char *mode)
{
    put2(p, "--perms", mode);
    put_number(p, "--size", bytes);
    put2(p, "--tmpfs", path);
}

const char *const sandbox_file_paths[SANDBOX_FILES] = {
    [FILE_PASSWD] = "/etc/passwd",         [FILE_GROUP] = "/etc/group",         [FILE_HOSTS] = "/etc/hosts",
    [FILE_LD_CACHE] = "/etc/ld.so.cache",  [FILE_LOCALTIME] = "/etc/localtime", [FILE_SERVICES] = "/etc/services",
    [FILE_MIME_TYPES] = "/etc/mime.types",
};

static void put_etc(struct sandbox_plan *p, enum job_network network, const struct sandbox_numbers *numbers)
{
    static const char *const folders[] = {"/etc", "/etc/ssl"};
    static const char *const shown[] = {"/etc/alternatives", "/etc/ssl/certs"};
    static const char *const of_network[] = {"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        put2(p, "--perms", "0755");
        put2(p, "--dir", folders[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        show(p, shown[i]);
    for (size_t i = 0; i < SANDBOX_FILES; i++)
        if (numbers->files[i] >= 0 && (i != FILE_HOSTS || network != NETWORK_HOST)) {
            put2(p, "--perms", "0644");
            put3(p, "--file", number(p, numbers->files[i]), sandbox_file_paths[i]);
        }
    for (size_t i = 0; network == NETWORK_HOST && i < ARRAY_LEN(of_network); i++)
        show(p, of_network[i]);
}

static void put_system(struct sandbox_plan *p, enum job_network network, const struct sandbox_numbers *numbers)
{
    static const char *const links[] = {"/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"};
    show(p, "/usr");
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        show_or_link(p, links[i]);
    put_etc(p, network, numbers);
    put2(p, "--proc", "/proc");
    put2(p, "--dev", "/dev"); /* a tmpfs with the harmless devices */
    put_tmpfs(p, "/dev/shm", SANDBOX_TMP_BYTES, "1777");
    if (!p->sandbox->root) /* it would be the agent's own to write to, without a bound */
        put2(p, "--remount-ro", "/dev");
    put_tmpfs(p, "/tmp", SANDBOX_TMP_BYTES, "1777");
}

/* One more thing that it may read or connect to, under its own path; the strings are copied. */
static void show_at(struct sandbox_plan *p, struct str where)
{
    const char *path = arena_strdup(&p->arena, where);
    if (!path || path[0] != '/' || access(path, F_OK) != 0)
        return;
    put_parents(p, path);
    show(p, path);
}

static void put_own(struct sandbox_plan *p, const struct job_spec *spec)
{
    struct str list = str_of(p->sandbox->x->config->sandbox_paths), word;
    int64_t disk = spec->limits.disk_bytes;
    while (str_next_word(&list, &word))
        show_at(p, word);
    if (spec->storage_socket)
        show_at(p, str_of(spec->storage_socket));
    put_parents(p, p->private);
    if (disk == 0)
        disk = p->sandbox->x->config->sandbox_disk_mb << 20;
    if (disk > 0) {
        put_tmpfs(p, p->private, disk, "0755"); /* the folders above it get what it has */
        put3(p, "--chmod", "0700", p->private);
    } else {
        put3(p, "--bind", p->private, p->private);
    }
    if (spec->code)
        show_at(p, str_of(spec->code));
    put2(p, "--remount-ro", "/"); /* itself a tmpfs without a bound */
}

static void put_namespaces(struct sandbox_plan *p, enum job_network network)
{
    const struct sandbox *s = p->sandbox;
    put(p, "--die-with-parent");
    put(p, "--as-pid-1"); /* the helper, which is the first process, reaps */
    put(p, "--unshare-ipc");
    put(p, "--unshare-pid");
    put(p, "--unshare-uts");
    put(p, "--unshare-cgroup-try"); /* a kernel without them shows no groups either */
    put2(p, "--hostname", "sandbox");
    if (network != NETWORK_HOST)
        put(p, "--unshare-net");
    if (!s->root) {
        put(p, "--unshare-user");
        put_number(p, "--uid", s->x->config->sandbox_uid);
        put_number(p, "--gid", s->x->config->sandbox_uid);
    }
}

void sandbox_words(struct sandbox_plan *p, const struct job_spec *spec, const struct sandbox_numbers *numbers)
{
    put(p, p->sandbox->bwrap);
    put_namespaces(p, spec->network);
    put_system(p, spec->network, numbers);
    put_own(p, spec);
    put3(p, "--", arena_printf(&p->arena, "/proc/self/fd/%d", numbers->helper), "inside");
    put_number(p, "--report", 5 + (int64_t)p->fd_count);
    put_number(p, "--filter", numbers->filter);
    put_number(p, "--env", numbers->env);
    if (numbers->listen >= 0)
        put_number(p, "--listen", numbers->listen);
    if (numbers->code >= 0)
        put_number(p, "--share", numbers->code);
    if (p->sandbox->root) {
        put_number(p, "--identity", p->sandbox->x->config->sandbox_uid);
        put2(p, "--own", p->private);
    }
    put2(p, "--workdir", arena_strdup(&p->arena, str_of(spec->workdir)));
    put(p, "--");
    for (size_t i = 0; spec->command[i]; i++)
        put(p, arena_strdup(&p->arena, str_of(spec->command[i])));
    p->words[p->word_count] = NULL;
}
