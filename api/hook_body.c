#include "api/hook_body.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/address.h"
#include "common/event.h"
#include "common/keys.h"
#include "common/webhook.h"

/* ---- the URL ---- */

/* The host as curl will understand it ("0x7f.1" is 127.0.0.1 there), when it is an address. */
static bool host_is_private(const char *host)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    char bare[64];
    if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
        return !address_is_public((struct sockaddr *)&in, sizeof in);
    if (host[0] != '[')
        return false;
    snprintf(bare, sizeof bare, "%s", host + 1);
    bare[strcspn(bare, "]%")] = 0;
    return inet_pton(AF_INET6, bare, &in6.sin6_addr) != 1 || !address_is_public((struct sockaddr *)&in6, sizeof in6);
}

/* The part between "//" and the path has an '@': user info, be it empty. */
static bool has_user(const char *url)
{
    const char *begin = strstr(url, "//") + 2;
    return memchr(begin, '@', strcspn(begin, "/?#")) != NULL;
}

static const char *fault_of(CURLU *u, const char *url, bool allow_private)
{
    char *scheme = NULL, *host = NULL;
    const char *why = NULL;
    if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) || curl_url_get(u, CURLUPART_HOST, &host, 0) || !*host)
        why = "must be an absolute URL like https://example.com/hooks";
    else if (strncmp(url + strlen(scheme), "://", 3) != 0 || url[strlen(scheme) + 3] == '/' ||
             strchr(url, '\\')) /* what curl would mend */
        why = "must be an absolute URL like https://example.com/hooks";
    else if (strcmp(scheme, "https") != 0 && !(allow_private && strcmp(scheme, "http") == 0))
        why = allow_private ? "must begin with https:// or http://" : "must begin with https://";
    else if (has_user(url))
        why = "must not hold a user or a password; what is sent is signed instead";
    else if (strchr(url, '#'))
        why = "must not have a fragment (#…)";
    else if (!allow_private && host_is_private(host))
        why = "must not name a private, loopback or link-local address (allow-private-addresses lets it)";
    curl_free(scheme);
    curl_free(host);
    return why;
}

bool hook_url_valid(struct str url, bool allow_private, const char **ret_why)
{
    char text[LIMIT_WEBHOOK_URL + 1];
    *ret_why = "must be an absolute URL of at most 2048 printable ASCII characters";
    if (url.len == 0 || url.len > LIMIT_WEBHOOK_URL)
        return false;
    for (size_t i = 0; i < url.len; i++)
        if (url.ptr[i] <= ' ' || url.ptr[i] > '~')
            return false;
    memcpy(text, url.ptr, url.len);
    text[url.len] = 0;
    CURLU *u = curl_url();
    if (u && curl_url_set(u, CURLUPART_URL, text, 0) == CURLUE_OK)
        *ret_why = fault_of(u, text, allow_private);
    curl_url_cleanup(u);
    return *ret_why == NULL;
}

/* ---- fields ---- */

bool take_hook_url(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING)
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string", name);
    *(struct str *)out = v->string;
    return true;
}

bool take_hook_secret(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || !webhook_secret_valid(v->string))
        return refuse(c, ERR_INVALID_FIELD, "%s must be \"whsec_\" and the base64 of %d to %d bytes", name,
                      WEBHOOK_KEY_MIN, WEBHOOK_KEY_MAX);
    *(struct str *)out = v->string;
    return true;
}

static bool is_event(struct str s)
{
    if (str_eqz(s, "run.success") || str_eqz(s, "run.error") || str_eqz(s, "run.stopped"))
        return true;
    if (!str_starts(s, STR("event.")))
        return false;
    enum event_kind kind = event_kind_of((struct str){s.ptr + 6, s.len - 6});
    return kind != EVENT_KIND_COUNT && kind != EVENT_RUNTIME_TERMINAL; /* that one is the run's end */
}

/* An array of words, each once, as a text with a blank between two. */
static bool take_list(struct check *c, const struct json *v, size_t max, bool (*fits)(struct str), struct str *out,
                      const char *refusal)
{
    struct strbuf text;
    strbuf_init(&text, 16384);
    bool ok = v->type == JSON_ARRAY && v->count <= max;
    for (const struct json *m = ok ? v->child : NULL; m && ok; m = m->next) {
        ok = m->type == JSON_STRING && fits(m->string);
        for (const struct json *o = v->child; ok && o != m; o = o->next)
            ok = !str_eq(o->string, m->string);
        if (ok)
            strbuf_addf(&text, "%s%.*s", m == v->child ? "" : " ", STR_ARG(m->string));
    }
    *out = arena_str(c->arena, strbuf_str(&text));
    ok = ok && !strbuf_failed(&text) && out->ptr;
    strbuf_done(&text);
    return ok || refuse(c, ERR_INVALID_FIELD, "%s", refusal);
}

static bool take_events(struct check *c, const struct json *v, const char *name, void *out)
{
    (void)name;
    static const char refusal[] =
        "events must be an array, each once, of run.success, run.error, run.stopped and event.KIND, KIND being "
        "runtime_started, assistant_text, tool_request, tool_response, skill_loaded, file_uploaded, notification or "
        "stream_error";
    return take_list(c, v, 3 + EVENT_KIND_COUNT, is_event, out, refusal);
}

static bool take_agents(struct check *c, const struct json *v, const char *name, void *out)
{
    const char *refusal = arena_printf(c->arena, "%s must be an array of at most %d names of agents, each once", name,
                                       LIMIT_WEBHOOK_AGENTS);
    return take_list(c, v, LIMIT_WEBHOOK_AGENTS, keys_name_valid, out, refusal ? refusal : name);
}

static const struct field hook_fields[] = {
#define AT(member) offsetof(struct hook_body, member)
    {"url", take_hook_url, AT(url), 0, 0},
    {"events", take_events, AT(events), 0, 0},
    {"agents", take_agents, AT(agents), 0, 0},
    {"enabled", take_bool, AT(enabled), 0, 0},
    {"description", take_text, AT(description), 0, 0},
    {"secret", take_hook_secret, AT(secret), 0, 0}, /* the last one: of a new webhook */
#undef AT
};

bool hook_body_read(struct arena *a, const struct json *root, bool create, bool allow_private,
                    struct hook_body *ret_body, struct fault *ret_fault)
{
    struct hook_body b = {
        .events = STR(""), .agents = STR(""), .description = STR(""), .secret = STR(""), .enabled = true};
    struct check c = {a, "", ret_fault};
    const char *why;
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "a webhook must be an object");
    if (!take_object(&c, root, hook_fields, ARRAY_LEN(hook_fields) - (create ? 0 : 1), &b))
        return false;
    if (!json_get(root, "url"))
        return refuse(&c, ERR_MISSING_FIELD, "url is required");
    if (b.events.len == 0)
        return refuse(&c, ERR_MISSING_FIELD, "events is required: what it is told of, like [\"run.error\"]");
    if (!hook_url_valid(b.url, allow_private, &why))
        return refuse(&c, ERR_INVALID_FIELD, "url %s", why);
    *ret_body = b;
    return true;
}

struct rotation {
    struct str secret;
    int64_t overlap_ms;
};

static const struct field rotation_fields[] = {
    {"secret", take_hook_secret, offsetof(struct rotation, secret), 0, 0},
    {"overlapMs", NULL, offsetof(struct rotation, overlap_ms), 0, LIMIT_WEBHOOK_OVERLAP_MS},
};

bool hook_rotation_read(struct arena *a, const struct json *root, struct str *ret_secret, int64_t *ret_overlap_ms,
                        struct fault *ret_fault)
{
    struct rotation r = {.secret = STR(""), .overlap_ms = 86400000};
    struct check c = {a, "", ret_fault};
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "a rotation must be an object");
    if (!take_object(&c, root, rotation_fields, ARRAY_LEN(rotation_fields), &r))
        return false;
    *ret_secret = r.secret;
    *ret_overlap_ms = r.overlap_ms;
    return true;
}
