#include "cli/audit_tally.h"

#include <stdlib.h>

/* FNV-1a, and a mixer at the end because the table takes the low bits. Two of a million names meet with a probability of 1 in 37 million. */
uint64_t tally_hash(const char *text)
{
    uint64_t h = 14695981039346656037U;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 1099511628211U;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93U;
    h ^= h >> 32;
    return h ? h : 1;
}

void tally_done(struct tally *t)
{
    for (size_t i = 0; i < t->cap; i++)
        free(t->rows[i].name);
    free(t->rows);
    *t = (struct tally){0};
}

static struct tally_row *place_of(struct tally_row *rows, size_t cap, uint64_t hash)
{
    size_t at = hash & (cap - 1);
    while (rows[at].hash && rows[at].hash != hash)
        at = (at + 1) & (cap - 1);
    return &rows[at];
}

static bool grow(struct tally *t)
{
    size_t cap = t->cap ? 2 * t->cap : 256;
    struct tally_row *rows = calloc(cap, sizeof(*rows));
    if (!rows)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        if (t->rows[i].hash)
            *place_of(rows, cap, t->rows[i].hash) = t->rows[i];
    }
    free(t->rows);
    t->rows = rows;
    t->cap = cap;
    return true;
}

int64_t *tally_at(struct tally *t, const char *name, bool keep_name)
{
    if (t->used * 4 >= t->cap * 3 && !grow(t))
        return NULL;
    struct tally_row *row = place_of(t->rows, t->cap, tally_hash(name));
    if (!row->hash) {
        char *copy = keep_name ? strdup(name) : NULL;
        if (keep_name && !copy)
            return NULL;
        *row = (struct tally_row){.hash = tally_hash(name), .name = copy};
        t->used++;
    }
    return &row->n;
}

int64_t tally_get(const struct tally *t, const char *name)
{
    const struct tally_row *row = t->cap > 0 ? place_of(t->rows, t->cap, tally_hash(name)) : NULL;
    return row && row->hash ? row->n : 0;
}
