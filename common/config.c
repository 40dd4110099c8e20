#include "common/config.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_MAX = 65536, VALUE_MAX = 8192 };

enum option_type { TYPE_str, TYPE_secret, TYPE_int, TYPE_ms, TYPE_bytes, TYPE_bool };

struct option {
    const char *name;
    enum option_type type;
    int programs;
    const char *def;
    int64_t min, max;
    const char *help;
    size_t offset;
};

#define OPTION_ROW(field, type, name, programs, def, min, max, help)                                                   \
    {name, TYPE_##type, programs, def, min, max, help, offsetof(struct config, field)},
static const struct option options[] = {CONFIG_TABLE(OPTION_ROW)};
#undef OPTION_ROW
enum { OPTIONS = ARRAY_LEN(options) };
_Static_assert(ARRAY_LEN(options) <= ARRAY_LEN(((struct config *)0)->owned), "room for every option's text");

/* `redis-url` → `ERRAND_REDIS_URL`. */
static void env_name(const struct option *o, char buf[64])
{
    int len = snprintf(buf, 64, "ERRAND_%s", o->name);
    for (int i = 0; i < len; i++)
        buf[i] = buf[i] == '-' ? '_' : (char)toupper((unsigned char)buf[i]);
}

static const struct option *find_option(const char *name, size_t len, int program)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if ((options[i].programs & program) && strlen(options[i].name) == len &&
            memcmp(options[i].name, name, len) == 0)
            return &options[i];
    return NULL;
}

/* Levenshtein's distance, of words of at most 63 bytes. */
static size_t edit_distance(const char *a, size_t a_len, const char *b)
{
    size_t row[64], b_len = strlen(b);
    if (a_len > 63 || b_len > 63)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[b_len];
}

static enum err unknown_option(const char *name, size_t len, int program, const char *where, struct strbuf *msg)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < OPTIONS; i++) {
        size_t d = (options[i].programs & program) ? edit_distance(name, len, options[i].name) : SIZE_MAX;
        if (d < least) {
            least = d;
            nearest = options[i].name;
        }
    }
    strbuf_addf(msg, "unknown option %s%.*s", where, (int)(len > 80 ? 80 : len), name);
    if (nearest && least <= 4)
        strbuf_addf(msg, "; did you mean %s%s?", where, nearest);
    else
        strbuf_addz(msg, "; --help lists the options");
    return ERR_CONFIG;
}

static bool parse_number(const struct option *o, const char *text, int64_t *ret_n)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return false;
    *ret_n = n;
    return n >= o->min && n <= o->max;
}

static bool parse_bool(const char *text, bool *ret_b)
{
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_b = i % 2 == 1;
            return true;
        }
    }
    return false;
}

/* Stores one value. source names where it came from, for the message. */
static enum err set_option(struct config *c, const struct option *o, const char *text, const char *source,
                           struct strbuf *msg)
{
    void *field = (char *)c + o->offset;
    bool ok = true;
    switch (o->type) {
    case TYPE_str:
    case TYPE_secret: {
        char *copy = strlen(text) <= VALUE_MAX ? strdup(text) : NULL;
        ok = copy != NULL;
        if (ok) {
            size_t i = (size_t)(o - options);
            free(c->owned[i]);
            c->owned[i] = copy;
            *(const char **)field = copy;
        } else {
            strbuf_addf(msg, "%s is longer than %d bytes", source, VALUE_MAX);
        }
        break;
    }
    case TYPE_int:
    case TYPE_ms:
    case TYPE_bytes:
        ok = parse_number(o, text, field);
        if (!ok)
            strbuf_addf(msg, "%s must be a whole number from %lld to %lld%s, not \"%.80s\"", source, (long long)o->min,
                        (long long)o->max,
                        o->type == TYPE_ms      ? " (milliseconds)"
                        : o->type == TYPE_bytes ? " (bytes)"
                                                : "",
                        text);
        break;
    case TYPE_bool:
        ok = parse_bool(text, field);
        if (!ok)
            strbuf_addf(msg, "%s must be true or false, not \"%.80s\"", source, text);
        break;
    }
    return ok ? ERR_OK : ERR_CONFIG;
}

/* A whole small file, NUL-terminated, without trailing white space; the caller frees. NULL and errno. */
static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    char *text = calloc(1, FILE_MAX + 1);
    size_t len = text ? fread(text, 1, FILE_MAX, f) : 0;
    bool failed = ferror(f) != 0;
    bool whole = feof(f) || fgetc(f) == EOF;
    fclose(f);
    if (!text || failed || !whole) {
        free(text);
        errno = failed ? EIO : EFBIG;
        return NULL;
    }
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        text[--len] = 0;
    return text;
}

static enum err set_from_file_of_secret(struct config *c, const struct option *o, const char *path, const char *env,
                                        struct strbuf *msg)
{
    char *text = read_file(path);
    if (!text) {
        strbuf_addf(msg, "%s_FILE: can't read %.200s: %s", env, path, strerror(errno));
        return ERR_CONFIG;
    }
    enum err err = set_option(c, o, text, env, msg);
    explicit_bzero(text, strlen(text));
    free(text);
    return err;
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t len = strlen(s);
    while (len > 0 && isspace((unsigned char)s[len - 1]))
        s[--len] = 0;
    return s;
}

/* Lines `name = value`; empty ones and those which begin with # are passed over. */
static enum err load_file(struct config *c, int program, const char *path, struct strbuf *msg)
{
    char *text = read_file(path);
    if (!text) {
        strbuf_addf(msg, "--config: can't read %.200s: %s", path, strerror(errno));
        return ERR_CONFIG;
    }
    enum err err = ERR_OK;
    int number = 0;
    for (char *rest = text, *line; !err && (line = strsep(&rest, "\n"));) {
        number++;
        line = trim(line);
        if (*line == 0 || *line == '#')
            continue;
        char source[320];
        char *equals = strchr(line, '=');
        if (!equals) {
            strbuf_addf(msg, "%.200s, line %d: `name = value` is expected", path, number);
            err = ERR_CONFIG;
            break;
        }
        *equals = 0;
        char *name = trim(line);
        snprintf(source, sizeof source, "%.150s, line %d: %.60s", path, number, name);
        const struct option *o = find_option(name, strlen(name), program);
        if (o)
            err = set_option(c, o, trim(equals + 1), source, msg);
        else if (!find_option(name, strlen(name),
                              FOR_BOTH)) /* the other program's options may stand in a shared file */
            err = unknown_option(name, strlen(name), program, "", msg);
    }
    free(text);
    return err;
}

static enum err load_env(struct config *c, int program, struct strbuf *msg)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < OPTIONS && !err; i++) {
        const struct option *o = &options[i];
        if (!(o->programs & program))
            continue;
        char env[64], env_file[80];
        env_name(o, env);
        snprintf(env_file, sizeof env_file, "%s_FILE", env);
        const char *value = getenv(env), *path = o->type == TYPE_secret ? getenv(env_file) : NULL;
        if (value)
            err = set_option(c, o, value, env, msg);
        else if (path)
            err = set_from_file_of_secret(c, o, path, env, msg);
    }
    return err;
}

/* Handles argv[*i], and moves *i past a value that stands in the next word. */
static enum err load_flag(struct config *c, int program, int argc, char **argv, int *i, struct strbuf *msg)
{
    const char *word = argv[*i];
    if (strncmp(word, "--", 2) != 0 || word[2] == 0) {
        strbuf_addf(msg, "unexpected argument \"%.80s\"; options begin with --", word);
        return ERR_CONFIG;
    }
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *o = find_option(name, len, program);
    if (len == 6 && memcmp(name, "config", 6) == 0) { /* read before: here only its value is passed over */
        *i += equals ? 0 : 1;
        if (*i < argc)
            return ERR_OK;
        strbuf_addz(msg, "--config needs a value");
        return ERR_CONFIG;
    }
    if (!o)
        return unknown_option(name, len, program, "--", msg);
    char env[64], source[80];
    env_name(o, env);
    if (o->type == TYPE_secret) {
        strbuf_addf(
            msg,
            "--%s: a secret is not taken as a flag, where every user of the machine could read it; set %s or %s_FILE",
            o->name, env, env);
        return ERR_CONFIG;
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!value && o->type == TYPE_bool) {
        value = *i + 1 < argc && argv[*i + 1][0] != '-' ? argv[++*i] : "true";
    } else if (!value) {
        if (*i + 1 >= argc) {
            strbuf_addf(msg, "--%s needs a value", o->name);
            return ERR_CONFIG;
        }
        value = argv[++*i];
    }
    snprintf(source, sizeof source, "--%s", o->name);
    return set_option(c, o, value, source, msg);
}

static const char *config_path(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0)
            return argv[i] + 9;
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            return argv[i + 1];
    }
    return getenv("ERRAND_CONFIG");
}

static enum err load_all(struct config *c, int program, int argc, char **argv, struct strbuf *msg)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < OPTIONS && !err; i++)
        err = set_option(c, &options[i], options[i].def, options[i].name, msg);
    const char *path = config_path(argc, argv);
    if (!err && path && *path)
        err = load_file(c, program, path, msg);
    if (!err)
        err = load_env(c, program, msg);
    for (int i = 1; i < argc && !err; i++)
        err = load_flag(c, program, argc, argv, &i, msg);
    return err;
}

enum err config_load(struct config *c, int program, int argc, char **argv, enum config_action *ret_action,
                     struct strbuf *ret_message)
{
    memset(c, 0, sizeof *c);
    for (int i = 1; i < argc; i++) {
        bool help = strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0,
             version = strcmp(argv[i], "--version") == 0;
        if (help || version) {
            *ret_action = help ? CONFIG_HELP : CONFIG_VERSION;
            return ERR_OK;
        }
    }
    enum err err = load_all(c, program, argc, argv, ret_message);
    if (err) {
        config_done(c);
        return err;
    }
    *ret_action = CONFIG_RUN;
    return ERR_OK;
}

void config_done(struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->owned); i++) {
        if (i < OPTIONS && options[i].type == TYPE_secret && c->owned[i])
            explicit_bzero(c->owned[i], strlen(c->owned[i]));
        free(c->owned[i]);
    }
    memset(c, 0, sizeof *c);
}

void config_forget_master_keys(struct config *c)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (c->owned[i] && (c->owned[i] == c->master_key || c->owned[i] == c->master_key_old))
            explicit_bzero(c->owned[i], strlen(c->owned[i]));
}

void config_wipe_environment(void)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        char env[64];
        env_name(&options[i], env);
        char *value = options[i].type == TYPE_secret ? getenv(env) : NULL;
        if (value)
            explicit_bzero(value, strlen(value));
    }
}

void config_help(int program, const char *program_name, struct strbuf *out)
{
    strbuf_addf(out, "usage: %s [--option value …]\n\n", program_name);
    strbuf_addz(
        out,
        "Each option is a flag, an environment variable, or a line `option = value` of the file named by --config\n"
        "(ERRAND_CONFIG). A flag beats the environment, which beats the file. Secrets come from the environment or\n"
        "from the file named by their …_FILE variable, never from a flag.\n\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        if (!(o->programs & program))
            continue;
        char env[64];
        env_name(o, env);
        if (o->type == TYPE_secret)
            strbuf_addf(out, "  %s, %s_FILE\n", env, env);
        else
            strbuf_addf(out, "  --%s, %s\n", o->name, env);
        strbuf_addf(out, "        %s%s%s%s\n", o->help, o->def[0] ? " [" : "", o->def, o->def[0] ? "]" : "");
    }
    strbuf_addz(out, "  --config, ERRAND_CONFIG\n        file of options\n  --help, --version\n");
}

void config_markdown(struct strbuf *out)
{
    static const char *const programs[] = {[FOR_API] = "api", [FOR_RUNNER] = "runner", [FOR_BOTH] = "both"};
    strbuf_addz(out, "| option | environment | of | default | meaning |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        char env[64];
        env_name(o, env);
        bool secret = o->type == TYPE_secret;
        strbuf_addf(out, "| %s%s%s | `%s`%s | %s | %s%s%s | %s |\n", secret ? "" : "`--", secret ? "–" : o->name,
                    secret ? "" : "`", env, secret ? ", `…_FILE`" : "", programs[o->programs], o->def[0] ? "`" : "",
                    o->def, o->def[0] ? "`" : "", o->help);
    }
}
