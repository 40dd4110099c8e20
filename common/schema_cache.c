#include "common/schema_cache.h"

#include <stdlib.h>

struct entry {
    struct entry *prev, *next; /* the one used last is first */
    uint64_t hash;
    struct schema *schema;
    size_t key_len, digest_len;
    char text[]; /* key, digest */
};

struct schema_cache {
    struct entry *first, *last;
    size_t count, bytes;
};

struct schema_cache *schema_cache_new(void)
{
    return calloc(1, sizeof(struct schema_cache));
}

static void unlink_entry(struct schema_cache *c, struct entry *e)
{
    *(e->prev ? &e->prev->next : &c->first) = e->next;
    *(e->next ? &e->next->prev : &c->last) = e->prev;
}

static void link_first(struct schema_cache *c, struct entry *e)
{
    e->prev = NULL;
    e->next = c->first;
    *(c->first ? &c->first->prev : &c->last) = e;
    c->first = e;
}

static void forget(struct schema_cache *c, struct entry *e)
{
    unlink_entry(c, e);
    c->count--;
    c->bytes -= schema_bytes(e->schema);
    schema_unref(e->schema);
    free(e);
}

void schema_cache_free(struct schema_cache *c)
{
    while (c && c->first)
        forget(c, c->first);
    free(c);
}

static uint64_t hash_of(struct str key)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (unsigned char)key.ptr[i]) * UINT64_C(1099511628211);
    return h;
}

static struct entry *find(struct schema_cache *c, struct str key)
{
    if (!c || !c->first)
        return NULL;
    uint64_t hash = hash_of(key);
    for (struct entry *e = c->first; e; e = e->next)
        if (e->hash == hash && str_eq((struct str){e->text, e->key_len}, key))
            return e;
    return NULL;
}

struct schema *schema_cache_find(struct schema_cache *c, struct str key, struct str *ret_digest)
{
    struct entry *e = find(c, key);
    if (!e)
        return NULL;
    unlink_entry(c, e);
    link_first(c, e);
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
    struct entry *e = malloc(sizeof *e + key.len + digest.len), *old = find(c, key);
    if (!e) {
        schema_unref(s);
        return ERR_NO_MEMORY;
    }
    *e = (struct entry){.hash = hash_of(key), .schema = s, .key_len = key.len, .digest_len = digest.len};
    if (key.len > 0)
        memcpy(e->text, key.ptr, key.len);
    if (digest.len > 0)
        memcpy(e->text + key.len, digest.ptr, digest.len);
    if (old)
        forget(c, old);
    c->bytes += schema_bytes(s);
    while (c->last && (c->count >= SCHEMA_CACHE_ENTRIES || c->bytes > SCHEMA_CACHE_BYTES))
        forget(c, c->last);
    link_first(c, e);
    c->count++;
    *ret_schema = s;
    return ERR_OK;
}
