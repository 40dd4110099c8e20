/* Bodies that change settings: flat objects of integers and booleans, read through a table. What the table does not know, and each wrong value, is refused by name. Pure but for the refusal. */
#ifndef ERRAND_API_SETTINGS_H
#define ERRAND_API_SETTINGS_H

#include "api/routes.h"

enum setting_type {
    SETTING_BOOL,   /* true or false: 1 or 0 */
    SETTING_NUMBER, /* an integer from 1 to max, or null: 0 */
};

struct setting {
    const char *name;
    enum setting_type type;
    int64_t max;
};

/* Reads the call's body into values, one for each row of the table; those that it does not name stay untouched. False: refused, and answered already. */
MUST_CHECK bool settings_read(struct call *c, const struct setting *table, size_t count, int64_t *values);

#endif
