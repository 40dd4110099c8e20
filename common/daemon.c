#include "common/daemon.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/crypto.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/version.h"

int daemon_usage_error(const char *name, const char *message)
{
    fprintf(stderr, "%s: %s\n", name, message);
    return 2;
}

static const char *check(const struct config *c, enum log_level *ret_level)
{
    if (!log_level_parse(str_of(c->log_level), ret_level))
        return "log-level must be debug, info, warn or error";
    if (strcmp(c->log_format, "json") != 0 && strcmp(c->log_format, "logfmt") != 0)
        return "log-format must be json or logfmt";
    if (strlen(c->prefix) > KEYS_PREFIX_MAX)
        return "prefix must be at most 64 bytes";
    if (c->redis_user[0] && !c->redis_password[0])
        return "redis-user needs a password: set ERRAND_REDIS_PASSWORD (or ERRAND_REDIS_PASSWORD_FILE)";
    return crypto_start() == ERR_OK ? NULL : "the system has no randomness";
}

/* Readers, agents' pipes: as many descriptors as the hard limit allows. */
static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* One that was closed would be taken by whatever is opened first, and then written to as if it were a terminal. */
static void open_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(1);
}

/* Agents may run as this process' user: they must not trace it, nor read its memory or its environment. No core is dumped either: it would hold the keys. */
static void keep_to_itself(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    config_wipe_environment();
}

int daemon_start(struct config *ret_config, int program, const char *name, int argc, char **argv)
{
    static char host[65];
    struct config *c = ret_config;
    struct strbuf msg;
    enum config_action action;
    enum log_level level = LOG_LEVEL_INFO;
    int status = -1;
    open_standard_files();
    strbuf_init(&msg, 65536);
    enum err err = config_load(c, program, argc, argv, &action, &msg);
    const char *why = err ? (msg.len ? msg.ptr : err_sentence(err)) : NULL;
    if (!why && action == CONFIG_HELP)
        config_help(program, name, &msg);
    if (!why && action == CONFIG_VERSION)
        strbuf_addf(&msg, "%s " ERRAND_VERSION "\n", name);
    if (!why && action != CONFIG_RUN) {
        fputs(msg.ptr, stdout);
        status = 0;
    } else if (why || (why = check(c, &level))) {
        status = daemon_usage_error(name, why);
    } else {
        gethostname(host, sizeof host - 1);
        if (!c->node[0])
            c->node = host;
        log_setup(level, strcmp(c->log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT,
                  strchr(name, '-') + 1, str_of(c->node));
        raise_file_limit();
        keep_to_itself();
    }
    if (status >= 0)
        config_done(c);
    strbuf_done(&msg);
    return status;
}

bool daemon_write_port(const char *path, int port)
{
    char temporary[4200];
    snprintf(temporary, sizeof temporary, "%.4096s.tmp", path);
    FILE *f = fopen(temporary, "we");
    if (!f)
        return false;
    fprintf(f, "%d\n", port);
    return fclose(f) == 0 && rename(temporary, path) == 0;
}
