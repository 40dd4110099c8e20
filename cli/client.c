#include "cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/interrupt.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/version.h"

#define CONNECT_TIMEOUT_MS 5000
#define BUSY_MS            10000 /* how long answers 429 and 503 are waited out */
#define TICK_MS            500

struct client {
    char *urls[CLIENT_URLS_MAX];
    size_t url_count;
    size_t current;
    char *auth; /* the header line, or NULL */
    CURLM *multi;
    CURL *easy; /* reused, so that its connections are */
};

/* One transfer under way. */
struct transfer {
    struct client *client;
    struct response *response;
    const struct stream_request *stream; /* NULL for a plain request */
    int64_t last_byte_ms;
    bool (*tick)(void *ctx);
    void *tick_ctx;
    bool stopped; /* fn or tick said enough */
    char error[CURL_ERROR_SIZE];
};

static bool add_url(struct client *c, const char *url, size_t len)
{
    if (c->url_count == CLIENT_URLS_MAX || len == 0)
        return true;
    c->urls[c->url_count] = strndup(url, len);
    return c->urls[c->url_count++] != NULL;
}

struct client *client_new(const char *urls, const char *key)
{
    struct client *c = calloc(1, sizeof(*c));
    if (!c || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(c);
        return NULL;
    }
    bool ok = true;
    while (*urls && ok) {
        size_t len = strcspn(urls, ",");
        ok = add_url(c, urls, len);
        urls += len + (urls[len] == ',');
    }
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (*key && asprintf(&c->auth, "Authorization: Bearer %s", key) < 0)
        c->auth = NULL;
    if (!ok || !c->url_count || !c->multi || !c->easy || (*key && !c->auth)) {
        client_free(c);
        return NULL;
    }
    return c;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    if (c->easy)
        curl_easy_cleanup(c->easy);
    if (c->multi)
        curl_multi_cleanup(c->multi);
    for (size_t i = 0; i < c->url_count; i++)
        free(c->urls[i]);
    free(c->auth);
    free(c);
    curl_global_cleanup();
}

const char *client_url(const struct client *c)
{
    return c->urls[c->current];
}

size_t client_url_count(const struct client *c)
{
    return c->url_count;
}

void client_next_url(struct client *c)
{
    c->current = (c->current + 1) % c->url_count;
}

bool client_has_key(const struct client *c)
{
    return c->auth != NULL;
}

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t len = size * count;
    t->last_byte_ms = clock_mono_ms();
    long status = 0;
    curl_easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->stream && status == 200) {
        if (t->stream->fn(t->stream->ctx, (struct str){ptr, len}))
            return len;
        t->stopped = true;
        return 0;
    }
    strbuf_add(&t->response->body, (struct str){ptr, len});
    return strbuf_failed(&t->response->body) ? 0 : len;
}

static size_t on_header(char *ptr, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t len = size * count;
    static const char name[] = "retry-after:", etag[] = "etag:";
    t->last_byte_ms = clock_mono_ms();
    if (len > sizeof(etag) && strncasecmp(ptr, etag, sizeof(etag) - 1) == 0) {
        const char *value = ptr + sizeof(etag) - 1, *end = ptr + len;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        while (end > value && strchr(" \t\r\n", end[-1]))
            end--;
        if ((size_t)(end - value) < sizeof(t->response->etag))
            snprintf(t->response->etag, sizeof(t->response->etag), "%.*s", (int)(end - value), value);
    }
    if (len > sizeof(name) && strncasecmp(ptr, name, sizeof(name) - 1) == 0) {
        char number[32];
        snprintf(number, sizeof(number), "%.*s", (int)(len - sizeof(name) + 1), ptr + sizeof(name) - 1);
        long seconds = strtol(number, NULL, 10);
        if (seconds >= 0 && seconds < 86400)
            t->response->retry_after_ms = seconds * 1000;
    }
    return len;
}

/* A proxy of the environment is for the world outside, never for this machine. */
static bool is_local(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 || strncmp(host, "[::1]", 5) == 0;
}

static struct curl_slist *header_list(const struct client *c, const struct request *r, const struct stream_request *s)
{
    char line[600];
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    if (c->auth)
        list = curl_slist_append(list, c->auth);
    if (r && r->body.ptr) {
        snprintf(line, sizeof(line), "Content-Type: %s", r->content_type ? r->content_type : "application/json");
        list = curl_slist_append(list, line);
    }
    if (r && r->idempotency_key) {
        snprintf(line, sizeof(line), "Idempotency-Key: %s", r->idempotency_key);
        list = curl_slist_append(list, line);
    }
    if (s) {
        snprintf(line, sizeof(line), "Accept: %s", s->accept ? s->accept : "text/event-stream");
        list = curl_slist_append(list, line);
    }
    if (s && s->last_event_id) {
        snprintf(line, sizeof(line), "Last-Event-ID: %s", s->last_event_id);
        list = curl_slist_append(list, line);
    }
    return list;
}

/* Waits for the transfer, an interrupt, or silence. Returns how it ended. */
static CURLcode drive(struct transfer *t, int64_t idle_ms)
{
    struct client *c = t->client;
    int64_t next_tick = clock_mono_ms() + TICK_MS;
    for (;;) {
        int running = 0, left = 0;
        if (curl_multi_perform(c->multi, &running) != CURLM_OK)
            return CURLE_OUT_OF_MEMORY;
        const CURLMsg *message = curl_multi_info_read(c->multi, &left);
        if (message && message->msg == CURLMSG_DONE)
            return message->data.result;
        struct curl_waitfd extra = {.fd = interrupt_fd(), .events = CURL_WAIT_POLLIN};
        (void)curl_multi_poll(c->multi, &extra, extra.fd >= 0 ? 1 : 0, TICK_MS, NULL);
        if (interrupted()) {
            t->response->interrupted = true;
            return CURLE_ABORTED_BY_CALLBACK;
        }
        int64_t now = clock_mono_ms();
        if (idle_ms > 0 && now - t->last_byte_ms > idle_ms)
            return CURLE_OPERATION_TIMEDOUT;
        if (t->tick && now >= next_tick) {
            next_tick = now + TICK_MS;
            t->stopped = !t->tick(t->tick_ctx);
            if (t->stopped)
                return CURLE_ABORTED_BY_CALLBACK;
        }
    }
}

static void set_options(struct transfer *t, const char *url, struct curl_slist *headers)
{
    CURL *e = t->client->easy;
    curl_easy_reset(e);
    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_USERAGENT, "errand/" ERRAND_VERSION);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    if (is_local(url))
        curl_easy_setopt(e, CURLOPT_PROXY, "");
}

/* One node, one try. Returns curl's verdict; the response has the rest. */
static CURLcode exchange(struct client *c, const char *path, const struct request *r, const struct stream_request *s,
                         struct response *response)
{
    struct transfer t = {.client = c,
                         .response = response,
                         .stream = s,
                         .last_byte_ms = clock_mono_ms(),
                         .tick = s ? s->tick : r->tick,
                         .tick_ctx = s ? s->ctx : r->tick_ctx};
    char *url = NULL;
    if (asprintf(&url, "%s%s", c->urls[c->current], path) < 0)
        return CURLE_OUT_OF_MEMORY;
    struct curl_slist *headers = header_list(c, r, s);
    set_options(&t, url, headers);
    if (r) {
        curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, r->method);
        curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)(r->timeout_ms > 0 ? r->timeout_ms : 30000));
        if (r->body.ptr || strcmp(r->method, "POST") == 0) {
            curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
            curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, r->body.ptr ? r->body.ptr : "");
        }
    }
    CURLcode code =
        curl_multi_add_handle(c->multi, c->easy) == CURLM_OK ? drive(&t, s ? s->idle_ms : 0) : CURLE_OUT_OF_MEMORY;
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_multi_remove_handle(c->multi, c->easy);
    response->status = code == CURLE_OK || s ? (int)status : 0;
    if (t.stopped)
        code = CURLE_OK;
    if (code != CURLE_OK)
        snprintf(response->why, sizeof(response->why), "%.180s", t.error[0] ? t.error : curl_easy_strerror(code));
    curl_slist_free_all(headers);
    free(url);
    return code;
}

static bool never_arrived(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
           code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION;
}

void client_send(struct client *c, const struct request *request, struct response *ret_response)
{
    bool repeatable = strcmp(request->method, "POST") != 0 || request->idempotency_key || request->repeatable;
    int64_t busy_until = clock_mono_ms() + BUSY_MS;
    *ret_response = (struct response){0};
    strbuf_init(&ret_response->body, CLIENT_ANSWER_MAX);
    for (size_t failures = 0;;) {
        strbuf_reset(&ret_response->body);
        ret_response->retry_after_ms = -1;
        CURLcode code = exchange(c, request->path, request, NULL, ret_response);
        int status = ret_response->status;
        if (ret_response->interrupted || request->once)
            return;
        if (status == 0) {
            client_next_url(c);
            if (++failures >= c->url_count || (!repeatable && !never_arrived(code)))
                return;
            continue;
        }
        bool busy = status == 429 || status == 503;
        int64_t wait = ret_response->retry_after_ms >= 0 ? ret_response->retry_after_ms : 500;
        if (!busy || clock_mono_ms() + wait >= busy_until)
            return;
        failures = 0; /* somebody is there: another round */
        client_next_url(c);
        if (interrupt_wait(wait + (int64_t)crypto_uniform(200))) {
            ret_response->interrupted = true;
            return;
        }
    }
}

void client_stream(struct client *c, const struct stream_request *request, struct response *ret_response)
{
    *ret_response = (struct response){.retry_after_ms = -1};
    strbuf_init(&ret_response->body, 1U << 20);
    (void)exchange(c, request->path, NULL, request, ret_response);
}

void response_done(struct response *r)
{
    strbuf_done(&r->body);
}

bool response_ok(const struct response *r)
{
    return r->status >= 200 && r->status < 300;
}

struct json *client_json(const struct response *r, struct arena *arena, int max_expand)
{
    struct json *root = NULL;
    const char *why = NULL;
    if (json_parse(arena, strbuf_str(&r->body), 512, max_expand, &root, &why) != ERR_OK) {
        cli_say("the answer is not JSON (%s): is this an Errand node?", why ? why : "it can't be read");
        return NULL;
    }
    return root;
}

int client_complain(const struct client *c, const struct response *r)
{
    return client_complain_about(c, r, "");
}

int client_complain_about(const struct client *c, const struct response *r, const char *about)
{
    const char *colon = *about ? ": " : "";
    if (r->interrupted)
        return EXIT_DETACHED;
    if (r->status == 0) {
        cli_say("%s%sno node answers at %s%s: %s", about, colon, c->urls[0],
                c->url_count > 1 ? " and the other addresses" : "", r->why);
        cli_say("start one with 'errand dev', or say where it is with ERRAND_URL");
        return EXIT_UNREACHABLE;
    }
    struct arena arena;
    arena_init(&arena, 4U << 20);
    struct json *problem = NULL;
    if (json_parse(&arena, strbuf_str(&r->body), 128, 4, &problem, NULL) != ERR_OK)
        problem = NULL;
    const struct json *detail = json_get(problem, "detail"), *title = json_get(problem, "title"),
                      *code = json_get(problem, "code");
    if (!detail || detail->type != JSON_STRING || detail->string.len == 0)
        detail = title;
    if (detail && detail->type == JSON_STRING && code && code->type == JSON_STRING)
        cli_say("%s%s%.*s (%d %.*s)", about, colon, STR_ARG(detail->string), r->status, STR_ARG(code->string));
    else
        cli_say("%s%sthe node answered %d without a reason: is this an Errand node?", about, colon, r->status);
    if (code && code->type == JSON_STRING && str_eqz(code->string, "agent_not_found"))
        cli_say("'errand agents put FILE' registers one, 'errand agents list' names those that are");
    if (r->status == 401 && !c->auth)
        cli_say("no key was sent: set ERRAND_KEY, or work below a folder where 'errand dev' runs");
    else if (r->status == 401)
        cli_say("the key is not one of this deployment: check ERRAND_KEY");
    arena_done(&arena);
    bool refused = r->status >= 400 && r->status < 500 && r->status != 401 && r->status != 403 && r->status != 429;
    return refused ? EXIT_USAGE : EXIT_UNREACHABLE;
}

void url_encode(struct strbuf *out, struct str text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\0' && strchr(plain, text.ptr[i]))
            strbuf_addc(out, text.ptr[i]);
        else
            strbuf_addf(out, "%%%02X", (unsigned)(unsigned char)text.ptr[i]);
    }
}
