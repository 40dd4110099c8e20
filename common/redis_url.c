#include "common/redis_url.h"

#include <stdlib.h>
#include <sys/un.h>

#include "common/redis.h"

static bool parse_int(const char *s, long max, int *ret_n)
{
    char *end;
    long n = strtol(s, &end, 10);
    if (*s < '0' || *s > '9' || *end || n > max) /* strtol would take a sign, or white space before */
        return false;
    *ret_n = (int)n;
    return true;
}

/* Percent-decodes in place. */
static bool decode(char *s)
{
    char *out = s;
    for (; *s; s++) {
        if (*s != '%') {
            *out++ = *s;
            continue;
        }
        int hi = hex_value(s[1]), lo = hi >= 0 ? hex_value(s[2]) : -1;
        if (lo < 0 || (hi == 0 && lo == 0))
            return false;
        *out++ = (char)(hi * 16 + lo);
        s += 2;
    }
    *out = 0;
    return true;
}

static const char *parse_unix(struct redis_url *u, char *rest)
{
    char *query = strchr(rest, '?');
    if (query) {
        *query++ = 0;
        if (strncmp(query, "db=", 3) != 0 || !parse_int(query + 3, 1000000, &u->db))
            return "after the socket's path only ?db=NUMBER may follow";
    }
    u->path = rest;
    if (strlen(rest) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return "the socket's path is too long for the system (107 bytes)";
    return rest[0] == '/' && rest[1] ? NULL : "unix:// needs an absolute path: unix:///run/redis/redis.sock";
}

static const char *parse_credentials(struct redis_url *u, char *text)
{
    char *colon = strchr(text, ':');
    if (!colon)
        return "credentials are user:password@ (or :password@)";
    *colon = 0;
    if (!decode(text) || !decode(colon + 1))
        return "a percent sign in the credentials is not followed by two hex digits";
    u->user = *text ? text : NULL;
    u->password = colon + 1;
    return NULL;
}

static const char *parse_tcp(struct redis_url *u, char *rest)
{
    char *slash = strrchr(rest, '/'), *at = strrchr(rest, '@');
    if (slash && at && slash < at)
        slash = NULL;
    if (slash) {
        *slash++ = 0;
        if (*slash && !parse_int(slash, 1000000, &u->db))
            return "the database after the last / must be a number";
    }
    if (at) {
        *at = 0;
        const char *why = parse_credentials(u, rest);
        if (why)
            return why;
        rest = at + 1;
    }
    u->host = rest;
    char *port = NULL;
    if (*rest == '[') { /* an IPv6 address */
        u->host = rest + 1;
        char *close = strchr(rest, ']');
        if (!close || (close[1] && close[1] != ':'))
            return "an IPv6 address stands in [brackets]";
        port = close[1] ? close + 2 : NULL;
        *close = 0;
    } else if ((port = strchr(rest, ':'))) {
        *port++ = 0;
    }
    if (port && (!parse_int(port, 65535, &u->port) || u->port == 0))
        return "the port must be a number from 1 to 65535";
    return *u->host ? NULL : "there is no host";
}

enum err redis_url_parse(const char *url, struct redis_url *ret_url, const char **ret_why)
{
    struct redis_url u = {.port = 6379};
    const char *why = "it must begin with redis:// or unix://";
    if (strlen(url) > 1024) {
        *ret_why = "it is too long";
        return ERR_CONFIG;
    }
    u.text = strdup(url);
    if (!u.text)
        return ERR_NO_MEMORY;
    if (strncmp(u.text, "unix://", 7) == 0)
        why = parse_unix(&u, u.text + 7);
    else if (strncmp(u.text, "redis://", 8) == 0)
        why = parse_tcp(&u, u.text + 8);
    if (why) {
        free(u.text);
        *ret_why = why;
        return ERR_CONFIG;
    }
    *ret_url = u;
    return ERR_OK;
}

void redis_url_done(struct redis_url *u)
{
    free(u->text);
    *u = (struct redis_url){0};
}

enum err redis_url_check(const char *url, const char **ret_why)
{
    struct redis_url u;
    enum err err = redis_url_parse(url, &u, ret_why);
    if (!err)
        redis_url_done(&u);
    return err;
}

bool redis_url_of_shard(const char *list, unsigned shard, char *buf, size_t size)
{
    unsigned count = 1;
    for (const char *p = list; *p; p++)
        count += *p == ',';
    const char *begin = list;
    for (unsigned skip = shard % count; skip > 0; skip--)
        begin = strchr(begin, ',') + 1;
    size_t len = strcspn(begin, ",");
    if (len >= size)
        return false;
    memcpy(buf, begin, len);
    buf[len] = 0;
    return true;
}
