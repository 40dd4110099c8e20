#include "common/id.h"

#include <uuid/uuid.h>

static struct id id_text(const uuid_t u)
{
    struct id id;
    uuid_unparse_lower(u, id.s);
    return id;
}

struct id id_new(void)
{
    uuid_t u;
    uuid_generate_random(u);
    return id_text(u);
}

struct id id_new_run(unsigned shard)
{
    PRE(shard < 256);
    uuid_t u;
    uuid_generate_random(u);
    u[0] = (unsigned char)shard;
    return id_text(u);
}

bool id_parse(struct str s, struct id *ret_id)
{
    if (s.len != ID_LEN)
        return false;
    for (size_t i = 0; i < ID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = s.ptr[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    memcpy(ret_id->s, s.ptr, ID_LEN);
    ret_id->s[ID_LEN] = 0;
    return true;
}

unsigned id_shard(const struct id *id)
{
    unsigned shard = 0;
    for (int i = 0; i < 2; i++)
        shard = shard * 16 + (unsigned)(id->s[i] <= '9' ? id->s[i] - '0' : id->s[i] - 'a' + 10);
    return shard;
}

unsigned id_workspace_shard(struct str workspace, unsigned shards)
{
    PRE(shards >= 1 && shards <= 256);
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a: fixed for ever, because data lies where it says */
    for (size_t i = 0; i < workspace.len; i++)
        h = (h ^ (unsigned char)workspace.ptr[i]) * UINT64_C(1099511628211);
    return (unsigned)(h % shards);
}
