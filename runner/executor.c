#include "runner/executor.h"

static const struct executor *const table[] = {&executor_process};

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
