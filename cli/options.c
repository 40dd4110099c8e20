#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>

#define WORD_MAX 64

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* How many letters have to be put in, left out, changed or swapped with their neighbour to make b out of a. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1], la = strlen(a), lb = strlen(b);
    if (la > WORD_MAX || lb > WORD_MAX)
        return SIZE_MAX;
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t k = 0; k <= lb; k++)
        last[k] = before[k] = k;
    for (size_t i = 1; i <= la; i++) {
        now[0] = i;
        for (size_t k = 1; k <= lb; k++) {
            now[k] = min3(last[k] + 1, now[k - 1] + 1, last[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < now[k])
                now[k] = before[k - 2] + 1;
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[lb];
}

const char *nearest_word(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strlen(word), best = SIZE_MAX;
    const char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        /* The beginning of a name is as good as one slip. */
        size_t d = length >= 2 && strncmp(candidates[i], word, length) == 0 ? 1 : edit_distance(word, candidates[i]);
        if (d < best) {
            best = d;
            found = candidates[i];
        }
    }
    return best <= (length <= 4 ? 1 : length / 3 + 1) ? found : NULL;
}

bool duration_parse(const char *text, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    double n = strtod(text, &end);
    /* strtod also knows hexadecimal, which nobody means here. */
    if (errno != 0 || strspn(text, "0123456789.") < (size_t)(end - text))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        double ms = n * units[i].ms;
        if (ms > 31536000000.0)
            return false;
        *ret_ms = (int64_t)(ms + 0.5);
        return true;
    }
    return false;
}

static bool int_parse(const char *text, int64_t *ret_value)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == ' ' || *text == '+')
        return false;
    *ret_value = v;
    return true;
}

static enum err set_number(const struct option *o, const char *value, struct strbuf *ret_message)
{
    int64_t n;
    bool duration = o->type == OPTION_DURATION;
    if (!(duration ? duration_parse(value, &n) : int_parse(value, &n))) {
        strbuf_addf(ret_message,
                    duration ? "--%s takes a time like 500ms, 30s, 5m or 2h, not '%s'"
                             : "--%s takes a whole number, not '%s'",
                    o->name, value);
        return ERR_INVALID_PARAMETER;
    }
    if (n < o->min || n > o->max) {
        strbuf_addf(ret_message, "--%s has to be between %lld and %lld%s", o->name, (long long)o->min,
                    (long long)o->max, duration ? " ms" : "");
        return ERR_INVALID_PARAMETER;
    }
    *(int64_t *)o->target = n;
    return ERR_OK;
}

static enum err set_value(const struct option *o, const char *value, struct strbuf *ret_message)
{
    switch (o->type) {
    case OPTION_FLAG:
        *(bool *)o->target = true;
        return ERR_OK;
    case OPTION_STRING:
        *(const char **)o->target = value;
        return ERR_OK;
    case OPTION_LIST: {
        struct option_list *list = o->target;
        if (list->count == OPTION_VALUES_MAX) {
            strbuf_addf(ret_message, "--%s is given more than %d times", o->name, OPTION_VALUES_MAX);
            return ERR_INVALID_PARAMETER;
        }
        list->values[list->count++] = value;
        return ERR_OK;
    }
    case OPTION_INT:
    case OPTION_DURATION:
        return set_number(o, value, ret_message);
    }
    return ERR_INTERNAL;
}

static const struct option *find(const struct options *o, const char *word, size_t name_len, bool letter)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct option *t = &o->table[i];
        if (letter ? (t->letter == *word) : (strlen(t->name) == name_len && memcmp(t->name, word, name_len) == 0))
            return t;
    }
    return NULL;
}

static enum err unknown(const struct options *o, const char *arg, struct strbuf *ret_message)
{
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; i < o->count && n < ARRAY_LEN(names); i++)
        names[n++] = o->table[i].name;
    char word[WORD_MAX + 1];
    size_t len = strcspn(arg, "=");
    strbuf_addf(ret_message, "unknown option '%.*s'", (int)len, arg);
    while (*arg == '-') {
        arg++;
        len--;
    }
    if (len > 0 && len <= WORD_MAX) {
        memcpy(word, arg, len);
        word[len] = '\0';
        const char *near = nearest_word(word, names, n);
        if (near)
            strbuf_addf(ret_message, "; did you mean --%s?", near);
    }
    return ERR_INVALID_PARAMETER;
}

/* Reads the option at argv[*i], and its value, which may be the next word. */
static enum err parse_one(struct options *o, int argc, char *const *argv, int *i, struct strbuf *ret_message)
{
    const char *arg = argv[*i], *value = NULL;
    bool letter = arg[1] != '-';
    const char *equals = letter ? NULL : strchr(arg, '=');
    const struct option *t = letter ? (arg[2] == '\0' ? find(o, arg + 1, 1, true) : NULL)
                                    : find(o, arg + 2, equals ? (size_t)(equals - arg - 2) : strlen(arg + 2), false);
    if (!t)
        return unknown(o, arg, ret_message);
    if (t->type == OPTION_FLAG) {
        if (equals) {
            strbuf_addf(ret_message, "--%s takes no value", t->name);
            return ERR_INVALID_PARAMETER;
        }
    } else if (equals) {
        value = equals + 1;
    } else if (*i + 1 < argc) {
        value = argv[++*i];
    } else {
        strbuf_addf(ret_message, "--%s needs a value: --%s %s", t->name, t->name, t->value);
        return ERR_INVALID_PARAMETER;
    }
    return set_value(t, value, ret_message);
}

enum err options_parse(struct options *o, int argc, char *const *argv, struct strbuf *ret_message)
{
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_words && strcmp(arg, "--") == 0) {
            only_words = true;
        } else if (!only_words && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)) {
            o->help = true;
            return ERR_OK;
        } else if (!only_words && arg[0] == '-' && arg[1] != '\0') {
            enum err err = parse_one(o, argc, argv, &i, ret_message);
            if (err)
                return err;
        } else if (o->word_count == o->words_max) {
            strbuf_addf(ret_message, "unexpected '%s'", arg);
            return ERR_INVALID_PARAMETER;
        } else {
            o->words[o->word_count++] = arg;
        }
    }
    return ERR_OK;
}

void options_help(const struct option *table, size_t count, struct strbuf *out)
{
    for (size_t i = 0; i < count; i++) {
        size_t begin = out->len;
        if (table[i].letter)
            strbuf_addf(out, "  -%c, --%s", table[i].letter, table[i].name);
        else
            strbuf_addf(out, "      --%s", table[i].name);
        if (table[i].value)
            strbuf_addf(out, " %s", table[i].value);
        do
            strbuf_addc(out, ' ');
        while (out->len - begin < 32 && !strbuf_failed(out));
        strbuf_addf(out, "%s\n", table[i].help);
    }
}
