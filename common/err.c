#include "common/err.h"

#include <stdio.h>
#include <stdlib.h>

struct err_row {
    const char *code;
    int status;
    bool retryable;
    const char *sentence;
};

#define ERR_ROW(name, wire, status, retryable, sentence) [name] = {wire, status, retryable, sentence},
static const struct err_row rows[ERR_COUNT] = {ERR_TABLE(ERR_ROW)};
#undef ERR_ROW

static const struct err_row *row_of(enum err err)
{
    PRE(err >= 0 && err < ERR_COUNT);
    return &rows[err];
}

const char *err_code(enum err err)
{
    return row_of(err)->code;
}

int err_status(enum err err)
{
    return row_of(err)->status;
}

bool err_retryable(enum err err)
{
    return row_of(err)->retryable;
}

const char *err_sentence(enum err err)
{
    return row_of(err)->sentence;
}

enum err err_from_code(struct str code)
{
    if (str_eqz(code, rows[ERR_T_MS_CONFLICT].code))
        return ERR_T_MS_CONFLICT;
    for (int i = 0; i < ERR_COUNT; i++)
        if (str_eqz(code, rows[i].code))
            return (enum err)i;
    return ERR_INTERNAL;
}

void invariant_broken(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken %s\n", file, line, what);
    abort();
}
