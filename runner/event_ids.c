#include "runner/event_ids.h"

/* FNV-1a: a remote that makes them collide only cheats itself. */
static uint64_t hash_of(struct str id)
{
    uint64_t h = 14695981039346656037U;
    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (unsigned char)id.ptr[i]) * 1099511628211U;
    return h;
}

static bool is_known(const struct event_ids *ids, uint64_t hash)
{
    uint64_t n = ids->count < EVENT_IDS_KEPT ? ids->count : EVENT_IDS_KEPT;
    bool known = ids->count > 0 && ids->first == hash;
    for (uint64_t i = 0; i < n; i++)
        known = known || ids->ring[i] == hash;
    return known;
}

static bool is_last(const struct event_ids *ids, struct str id)
{
    return id.len > 0 && str_eq(id, (struct str){ids->last, ids->last_len});
}

/* It goes into a request's head: printable ASCII. */
static bool is_usable(struct str id)
{
    bool ok = id.len > 0 && id.len <= EVENT_ID_MAX;
    for (size_t i = 0; ok && i < id.len; i++)
        ok = id.ptr[i] >= ' ' && id.ptr[i] < 127;
    return ok;
}

void event_ids_resume(struct event_ids *ids)
{
    ids->resumed = true;
    ids->replaying = false;
}

bool event_ids_take(struct event_ids *ids, struct str id)
{
    uint64_t hash = hash_of(id);
    if (ids->resumed) { /* a remote that begins further back than it was asked to */
        ids->resumed = false;
        ids->replaying = id.len > 0 && is_known(ids, hash);
    }
    if (ids->replaying) {
        ids->replaying = !is_last(ids, id);
        return false;
    }
    ids->gap = !is_usable(id);
    if (ids->gap)
        return true;
    memcpy(ids->last, id.ptr, id.len);
    ids->last[id.len] = 0;
    ids->last_len = id.len;
    if (ids->count == 0)
        ids->first = hash;
    ids->ring[ids->count++ % EVENT_IDS_KEPT] = hash;
    return true;
}

bool event_ids_can_resume(const struct event_ids *ids)
{
    return ids->count > 0 && !ids->gap;
}
