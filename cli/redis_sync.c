#include "cli/redis_sync.h"

#include <stdlib.h>

#include "common/redis_url.h"

static bool command_ok(redisContext *c, int argc, const char **argv, struct strbuf *why)
{
    redisReply *reply = redisCommandArgv(c, argc, argv, NULL);
    bool ok = reply && reply->type != REDIS_REPLY_ERROR;
    if (!ok)
        strbuf_addf(why, "%s refused: %.200s", argv[0], reply ? reply->str : c->errstr);
    freeReplyObject(reply);
    return ok;
}

static bool greet(redisContext *c, const struct redis_url *u, const struct redis_login *login, struct strbuf *why)
{
    const char *secret = u->password ? u->password : login->password, *user = u->password ? u->user : login->user;
    if (secret && *secret) {
        bool named = user && *user;
        const char *with_user[] = {"AUTH", user, secret}, *plain[] = {"AUTH", secret};
        if (!(named ? command_ok(c, 3, with_user, why) : command_ok(c, 2, plain, why)))
            return false;
    }
    if (u->db > 0) {
        char number[16];
        snprintf(number, sizeof(number), "%d", u->db);
        const char *select[] = {"SELECT", number};
        if (!command_ok(c, 2, select, why))
            return false;
    }
    const char *ping[] = {"PING"};
    return command_ok(c, 1, ping, why);
}

redisContext *redis_sync_connect(const char *url, const struct redis_login *login, int64_t timeout_ms,
                                 struct strbuf *why)
{
    struct redis_url u;
    const char *sentence = NULL;
    if (redis_url_parse(url, &u, &sentence) != ERR_OK) {
        strbuf_addz(why, sentence ? sentence : "bad URL");
        return NULL;
    }
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    redisContext *c =
        u.path ? redisConnectUnixWithTimeout(u.path, timeout) : redisConnectWithTimeout(u.host, u.port, timeout);
    if (!c || c->err) {
        strbuf_addz(why, c ? c->errstr : "out of memory");
    } else if (redisSetTimeout(c, timeout) == REDIS_OK && greet(c, &u, login, why)) {
        redis_url_done(&u);
        return c;
    }
    if (c)
        redisFree(c);
    redis_url_done(&u);
    return NULL;
}

bool redis_info_value(struct str info, const char *name, char *buf, size_t cap)
{
    size_t name_len = strlen(name);
    while (info.len > 0) {
        const char *end = memchr(info.ptr, '\n', info.len);
        size_t len = end ? (size_t)(end - info.ptr) : info.len;
        if (len > name_len && memcmp(info.ptr, name, name_len) == 0 && info.ptr[name_len] == ':') {
            size_t n = len - name_len - 1;
            while (n > 0 && info.ptr[name_len + n] == '\r')
                n--;
            if (n >= cap)
                return false;
            memcpy(buf, info.ptr + name_len + 1, n);
            buf[n] = '\0';
            return true;
        }
        info = end ? (struct str){end + 1, info.len - len - 1} : STR_NONE;
    }
    return false;
}
