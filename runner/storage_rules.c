/* What an attempt's Redis user may do. Pure. */
#include <stdio.h>

#include "runner/storage.h"

/* Commands that touch nothing but the keys they name. Not here: SORT (BY and GET read other keys), COPY, MOVE and SELECT (other databases), RESTORE and DUMP (payloads), KEYS, SCAN, RANDOMKEY, DBSIZE, scripts,
 * pub/sub, and all that blocks, looks at the server or changes it. */
static const char *const commands[] = {"+ping",
                                       "+echo",
                                       "+auth",
                                       "+hello",
                                       "+quit",
                                       "+reset",
                                       "+client|setname",
                                       "+client|id",
                                       "+multi",
                                       "+exec",
                                       "+discard",
                                       "+watch",
                                       "+unwatch",
                                       "+get",
                                       "+set",
                                       "+setex",
                                       "+psetex",
                                       "+setnx",
                                       "+getset",
                                       "+getdel",
                                       "+getex",
                                       "+mget",
                                       "+mset",
                                       "+msetnx",
                                       "+strlen",
                                       "+append",
                                       "+getrange",
                                       "+setrange",
                                       "+incr",
                                       "+incrby",
                                       "+incrbyfloat",
                                       "+decr",
                                       "+decrby",
                                       "+getbit",
                                       "+setbit",
                                       "+bitcount",
                                       "+bitpos",
                                       "+del",
                                       "+unlink",
                                       "+exists",
                                       "+type",
                                       "+touch",
                                       "+rename",
                                       "+renamenx",
                                       "+expire",
                                       "+pexpire",
                                       "+expireat",
                                       "+pexpireat",
                                       "+persist",
                                       "+ttl",
                                       "+pttl",
                                       "+expiretime",
                                       "+pexpiretime",
                                       "+hset",
                                       "+hsetnx",
                                       "+hget",
                                       "+hmget",
                                       "+hmset",
                                       "+hgetall",
                                       "+hdel",
                                       "+hexists",
                                       "+hlen",
                                       "+hkeys",
                                       "+hvals",
                                       "+hstrlen",
                                       "+hincrby",
                                       "+hincrbyfloat",
                                       "+hscan",
                                       "+hrandfield",
                                       "+lpush",
                                       "+lpushx",
                                       "+rpush",
                                       "+rpushx",
                                       "+lpop",
                                       "+rpop",
                                       "+llen",
                                       "+lrange",
                                       "+lindex",
                                       "+lset",
                                       "+lrem",
                                       "+ltrim",
                                       "+linsert",
                                       "+lpos",
                                       "+lmove",
                                       "+sadd",
                                       "+srem",
                                       "+smembers",
                                       "+sismember",
                                       "+smismember",
                                       "+scard",
                                       "+spop",
                                       "+srandmember",
                                       "+smove",
                                       "+sscan",
                                       "+sinter",
                                       "+sunion",
                                       "+sdiff",
                                       "+sinterstore",
                                       "+sunionstore",
                                       "+sdiffstore",
                                       "+sintercard",
                                       "+zadd",
                                       "+zrem",
                                       "+zscore",
                                       "+zmscore",
                                       "+zincrby",
                                       "+zcard",
                                       "+zcount",
                                       "+zlexcount",
                                       "+zrange",
                                       "+zrangestore",
                                       "+zrangebyscore",
                                       "+zrevrange",
                                       "+zrevrangebyscore",
                                       "+zrangebylex",
                                       "+zrank",
                                       "+zrevrank",
                                       "+zpopmin",
                                       "+zpopmax",
                                       "+zremrangebyrank",
                                       "+zremrangebyscore",
                                       "+zremrangebylex",
                                       "+zscan",
                                       "+xadd",
                                       "+xlen",
                                       "+xrange",
                                       "+xrevrange",
                                       "+xdel",
                                       "+xtrim"};
static const char *const kinds[3] = {"workflows", "artifacts", "vectors"};

/* What means something in a pattern loses that. */
static size_t escape(struct str s, char *at, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len && n + 2 < cap; i++) {
        if (strchr("[]*?\\", s.ptr[i]))
            at[n++] = '\\';
        at[n++] = s.ptr[i];
    }
    return n;
}

static void add(struct storage_rules *r, struct str word)
{
    PRE(r->n < STORAGE_RULES_MAX);
    r->words[r->n++] = word;
}

void storage_rules_of(struct str prefix, struct str workspace, const char *password, struct storage_rules *r)
{
    r->n = 0;
    snprintf(r->password, sizeof r->password, ">%s", password);
    add(r, STR("reset"));
    add(r, str_of(r->password));
    add(r, STR("resetchannels"));
    add(r, STR("-@all"));
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        add(r, str_of(commands[i]));
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char *k = r->keys[i];
        size_t n = 0;
        k[n++] = '~';
        n += escape(prefix, k + n, 400);
        n += (size_t)snprintf(k + n, 16, "data:");
        n += escape(workspace, k + n, 400);
        snprintf(k + n, 32, ":%s:*", kinds[i]);
        add(r, str_of(k));
    }
    add(r, STR("on")); /* last: it is whole when somebody can be it */
}

struct str storage_user_name(struct str prefix, struct str run_id, int64_t attempt, char buf[256])
{
    int n = snprintf(buf, 256, "%.*sattempt:%.*s:%lld", (int)(prefix.len > 120 ? 120 : prefix.len), prefix.ptr,
                     (int)(run_id.len > 64 ? 64 : run_id.len), run_id.ptr, (long long)attempt);
    for (int i = 0; i < n; i++)
        if ((unsigned char)buf[i] <= ' ' || buf[i] == 0x7f || buf[i] == '/' || buf[i] == '@')
            buf[i] = '_';
    return (struct str){buf, (size_t)n};
}

bool storage_url(const char *url, struct str user, const char *password, char *buf, size_t cap)
{
    const char *at = strstr(url, "://");
    struct strbuf name;
    if (!at)
        return false;
    /* what stands before the @ must be percent-encoded: of the user's name only letters, digits and a few others are plain */
    strbuf_init(&name, 1024);
    for (size_t i = 0; i < user.len; i++) {
        char c = user.ptr[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                     c == '_' || c == '.';
        if (plain)
            strbuf_addc(&name, c);
        else
            strbuf_addf(&name, "%%%02X", (unsigned char)c);
    }
    int n =
        snprintf(buf, cap, "%.*s%.*s:%s@%s", (int)(at + 3 - url), url, STR_ARG(strbuf_str(&name)), password, at + 3);
    strbuf_done(&name);
    return n > 0 && (size_t)n < cap;
}
