#include "common/schema_cache.h"

#include <stdlib.h>

struct entry {
    struct entry *next; /* the one used last is first */
    uint64_t hash;
    struct schema *schema;
    size_t key_len, digest_len;
    char text[]; /* key, digest */
};

struct schema_cache {
    struct entry *first;
    size_t count, bytes;
};

struct schema_cache *schema_cache_new(void)
{
    return calloc(1, sizeof(struct schema_cache));
}

/* Takes out the one at this place; NULL where there is none. */
static struct entry *take(struct entry **at)
{
    struct entry *e = *at;
    if (e)
        *at = e->next;
    return e;
}

static void forget(struct schema_cache *c, struct entry *e)
{
    if (!e)
        return;
    c->count--;
    c->bytes -= schema_bytes(e->schema);
    schema_unref(e->schema);
    free(e);
}

void schema_cache_free(struct schema_cache *c)
{
    while (c && c->first)
        forget(c, take(&c->first));
    free(c);
}

static uint64_t hash_of(struct str key)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (unsigned char)key.ptr[i]) * UINT64_C(1099511628211);
    return h;
}

/* Its place, or the list's end. */
static struct entry **place_of(struct schema_cache *c, struct str key)
{
    uint64_t hash = c->first ? hash_of(key) : 0;
    struct entry **at = &c->first;
    while (*at && ((*at)->hash != hash || !str_eq((struct str){(*at)->text, (*at)->key_len}, key)))
        at = &(*at)->next;
    return at;
}

static struct entry **last_place(struct schema_cache *c)
{
    struct entry **at = &c->first;
    while (*at && (*at)->next)
        at = &(*at)->next;
    return at;
}

struct schema *schema_cache_find(struct schema_cache *c, struct str key, struct str *ret_digest)
{
    struct entry *e = c ? take(place_of(c, key)) : NULL;
    if (!e)
        return NULL;
    e->next = c->first;
    c->first = e;
    if (ret_digest)
        *ret_digest = (struct str){e->text + e->key_len, e->digest_len};
    return e->schema;
}

enum err schema_cache_put(struct schema_cache *c, struct str key, struct str digest, struct str text,
                          struct schema **ret_schema, struct schema_fault *ret_fault)
{
    struct schema *s;
    enum err err = schema_compile(text, &s, ret_fault);
    if (err)
        return err;
    struct entry *e = malloc(sizeof *e + key.len + digest.len);
    if (!e) {
        schema_unref(s);
        return ERR_NO_MEMORY;
    }
    *e = (struct entry){.hash = hash_of(key), .schema = s, .key_len = key.len, .digest_len = digest.len};
    if (key.len > 0)
        memcpy(e->text, key.ptr, key.len);
    if (digest.len > 0)
        memcpy(e->text + key.len, digest.ptr, digest.len);
    forget(c, take(place_of(c, key)));
    while (c->first && (c->count >= SCHEMA_CACHE_ENTRIES || c->bytes + schema_bytes(s) > SCHEMA_CACHE_BYTES))
        forget(c, take(last_place(c)));
    e->next = c->first;
    c->first = e;
    c->count++;
    c->bytes += schema_bytes(s);
    *ret_schema = s;
    return ERR_OK;
}
