#include "common/http_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

#include "common/address.h"
#include "common/strbuf.h"
#include "common/version.h"

#define CONNECT_MAX_MS  INT64_C(10000)
#define HEADER_MAX      16384 /* bytes of an answer's head */
#define HEADER_LINE_MAX 2048  /* of a line that is sent */
#define UPLOAD_BUFFER   16384 /* curl keeps it for as long as a call is open: the smallest it takes */
#define CONNECTIONS_MAX 64    /* kept open for the next call */
#define MAX_AGE_MAX_S   INT64_C(31536000)

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer; /* the next time curl wants to be asked */
    struct http_flow *calls;
    size_t open;
    char *ca_file; /* NULL: the system's */
    bool allow_private;
    size_t calling; /* callbacks that run */
};

/* A call that is open; its answer is kept to its end for `fn`, or handed on as it comes to `fns`. */
struct http_flow {
    struct http_client *client;
    struct http_flow *next, **link;
    CURL *easy;
    struct curl_slist *headers;
    http_answer_fn fn;
    const struct http_flow_fns *fns;
    void *ctx;
    struct strbuf body;
    size_t head_len, taken, max; /* bytes of heads; of the body, and how many it may have */
    bool refused;                /* an address was private */
    bool too_large, local;       /* local: over a Unix socket that the caller named */
    bool has_head, paused, closed;
    struct loop_timer fail;   /* set where it failed before curl had it, and where it was closed */
    struct loop_timer idle;   /* no byte came for so long */
    struct loop_timer resume; /* curl is told from the loop: it hands on at once what it kept back */
    int64_t idle_ms;
    enum err fail_err;
};

/* A socket that curl wants to know about. Freed by its close. */
struct watch {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void global_init(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- the end of a call ---- */

static void call_free(void *p)
{
    struct http_flow *c = p;
    if (c->easy)
        curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->headers);
    strbuf_done(&c->body);
    free(c);
}

/* Takes it out of its client, and tells its sender. */
static void call_end(struct http_flow *call, enum err err, const struct http_answer *answer)
{
    struct http_client *c = call->client;
    loop_timer_stop(&call->fail);
    loop_timer_stop(&call->idle);
    loop_timer_stop(&call->resume);
    if (call->easy)
        curl_multi_remove_handle(c->multi, call->easy);
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    c->open--;
    c->calling++;
    if (call->fns && !call->closed)
        call->fns->end(call->ctx, err, answer->error);
    else if (!call->closed)
        call->fn(call->ctx, err, answer);
    c->calling--;
    loop_defer_free(c->loop, call_free, call);
}

static void call_fail(struct http_flow *call, enum err err, const char *sentence)
{
    call_end(call, err, &(struct http_answer){.max_age_s = -1, .retry_after_s = -1, .error = sentence});
}

static int64_t number_of(struct str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return i == 0 ? -1 : n;
        n = n * 10 + (s.ptr[i] - '0');
        if (n > MAX_AGE_MAX_S)
            return MAX_AGE_MAX_S;
    }
    return s.len > 0 ? n : -1;
}

static struct str header_of(CURL *easy, const char *name)
{
    struct curl_header *h;
    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? str_of(h->value) : STR_NONE;
}

static int64_t max_age_of(CURL *easy)
{
    struct str list = header_of(easy, "Cache-Control"), word;
    int64_t age = -1;
    while (str_next_word(&list, &word)) {
        if (word.len == 8 && (strncasecmp(word.ptr, "no-store", 8) == 0 || strncasecmp(word.ptr, "no-cache", 8) == 0))
            return 0;
        if (word.len > 8 && strncasecmp(word.ptr, "max-age=", 8) == 0)
            age = number_of((struct str){word.ptr + 8, word.len - 8});
    }
    return age;
}

static int64_t retry_after_of(CURL *easy)
{
    curl_off_t seconds = 0; /* curl knows both forms, the number and the date */
    if (header_of(easy, "Retry-After").len == 0 ||
        curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK || seconds < 0)
        return -1;
    return seconds > MAX_AGE_MAX_S ? MAX_AGE_MAX_S : (int64_t)seconds;
}

static void call_answer(struct http_flow *call)
{
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    struct http_answer answer = {
        .status = (int)status,
        .body = strbuf_str(&call->body),
        .content_type = header_of(call->easy, "Content-Type"),
        .max_age_s = max_age_of(call->easy),
        .retry_after_s = retry_after_of(call->easy),
    };
    call_end(call, ERR_OK, &answer);
}

static void call_failed_in_curl(struct http_flow *call, CURLcode code)
{
    if (call->refused && code == CURLE_COULDNT_CONNECT)
        call_fail(call, ERR_FORBIDDEN, "The host has a private address, which is not called");
    else if (call->too_large)
        call_fail(call, ERR_BODY_TOO_LARGE, "The answer is too long");
    else if (code == CURLE_OPERATION_TIMEDOUT)
        call_fail(call, ERR_TIMEOUT, "There was no whole answer in time");
    else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT || code == CURLE_LOGIN_DENIED)
        call_fail(call, ERR_FORBIDDEN, "The URL is none that may be called");
    else if (code == CURLE_OUT_OF_MEMORY)
        call_fail(call, ERR_NO_MEMORY, "Out of memory");
    else
        call_fail(call, ERR_IO, curl_easy_strerror(code)); /* static sentences, without names or addresses */
}

static void take_ended(struct http_client *c)
{
    int left;
    for (const CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        struct http_flow *call = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&call);
        if (code == CURLE_OK)
            call_answer(call);
        else
            call_failed_in_curl(call, code);
    }
}

/* ---- curl on the loop ---- */

static void on_timer(void *ctx)
{
    struct http_client *c = ctx;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_ended(c);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    struct http_client *c = ctx;
    if (timeout_ms < 0)
        loop_timer_stop(&c->timer);
    else
        loop_timer_set(&c->timer, timeout_ms);
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    struct http_client *c = w->client;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(c->multi, w->fd, flags, &running);
    take_ended(c);
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    (void)easy;
    struct http_client *c = ctx;
    struct watch *w = socket_ctx;
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(c->multi, fd, NULL);
        if (w)
            uv_close((uv_handle_t *)&w->poll, on_closed); /* stops at once; curl closes the socket behind this */
        return 0;
    }
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w || uv_poll_init_socket(loop_uv(c->loop), &w->poll, fd) != 0) {
            free(w);
            return -1;
        }
        w->client = c;
        w->fd = fd;
        w->poll.data = w;
        curl_multi_assign(c->multi, fd, w);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_poll);
}

/* The choke point: curl asks for a socket to this very address, after it resolved the name. */
static curl_socket_t on_open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_flow *call = ctx;
    (void)purpose;
    bool free_to_call = call->local ? address->family == AF_UNIX : call->client->allow_private;
    if (!free_to_call && !address_is_public(&address->addr, address->addrlen)) {
        call->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void on_idle(void *ctx)
{
    call_fail(ctx, ERR_TIMEOUT, "Nothing came for too long");
}

static void heard(struct http_flow *call)
{
    if (call->idle_ms > 0 && !call->paused)
        loop_timer_set(&call->idle, call->idle_ms);
}

static size_t hand_on(struct http_flow *call, struct str bytes)
{
    if (call->paused)
        return CURL_WRITEFUNC_PAUSE;
    call->client->calling++;
    call->fns->body(call->ctx, bytes);
    call->client->calling--;
    return call->closed ? 0 : bytes.len;
}

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx)
{
    struct http_flow *call = ctx;
    struct str bytes = {ptr, size * count};
    if (call->closed)
        return 0;
    heard(call);
    if (!call->fns)
        strbuf_add(&call->body, bytes);
    call->too_large |= call->fns ? bytes.len > call->max - call->taken : strbuf_failed(&call->body);
    if (call->too_large)
        return 0;
    size_t n = call->fns ? hand_on(call, bytes) : bytes.len;
    if (n == bytes.len)
        call->taken += n;
    return n;
}

/* Of an answer that is handed on as it comes. Interim ones (100, 103) are none; 101 is the last one. */
static void take_head(struct http_flow *call)
{
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->has_head || (status < 200 && status != 101))
        return;
    call->has_head = true;
    const struct http_flow_head head = {.status = (int)status,
                                        .content_type = header_of(call->easy, "Content-Type"),
                                        .retry_after_s = retry_after_of(call->easy),
                                        .of = call};
    call->client->calling++;
    call->fns->head(call->ctx, &head);
    call->client->calling--;
}

struct str http_flow_field(const struct http_flow_head *head, const char *name)
{
    return header_of(head->of->easy, name);
}

static size_t on_header(char *ptr, size_t size, size_t count, void *ctx)
{
    struct http_flow *call = ctx;
    size_t n = size * count;
    call->head_len += n; /* with what interim answers had */
    call->too_large |= call->head_len > HEADER_MAX;
    if (call->too_large || call->closed)
        return 0;
    heard(call);
    bool ends = (n == 2 && ptr[0] == '\r') || (n == 1 && ptr[0] == '\n');
    if (call->fns && ends)
        take_head(call);
    return call->closed ? 0 : n;
}

/* ---- sending ---- */

static bool add_headers(struct http_flow *call, const struct http_call *what)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no round trip before the body */
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < what->header_count; i++) {
        char line[HEADER_LINE_MAX];
        struct str h = what->headers[i];
        ok = h.len < sizeof line && !memchr(h.ptr, '\r', h.len) && !memchr(h.ptr, '\n', h.len);
        if (!ok)
            break;
        memcpy(line, h.ptr, h.len);
        line[h.len] = 0;
        struct curl_slist *longer = curl_slist_append(list, line);
        ok = longer != NULL;
        list = longer ? longer : list;
    }
    call->headers = list;
    return ok;
}

/* Options that decide what may be reached. */
static bool set_bounds(struct http_flow *call, const struct http_call *what)
{
    CURL *e = call->easy;
    bool soon = what->timeout_ms > 0 && what->timeout_ms < CONNECT_MAX_MS;
    int64_t connect_ms = soon ? what->timeout_ms : CONNECT_MAX_MS;
    return !curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, what->https_only ? "https" : "http,https") &&
           !curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) && !curl_easy_setopt(e, CURLOPT_PROXY, "") &&
           !curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
           !curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) &&
           !curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) && !curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L) &&
           !curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket) &&
           !curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, call) &&
           !curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)what->timeout_ms) &&
           !curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) &&
           !curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) && !curl_easy_setopt(e, CURLOPT_HEADERDATA, call) &&
           !curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) && !curl_easy_setopt(e, CURLOPT_WRITEDATA, call) &&
           (!what->unix_socket || !curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, what->unix_socket)) &&
           (!call->client->ca_file || !curl_easy_setopt(e, CURLOPT_CAINFO, call->client->ca_file));
}

static bool set_request(struct http_flow *call, const struct http_call *what)
{
    CURL *e = call->easy;
    /* Quick exit: where a name takes longer than the call may, the loop does not wait for the thread that still asks for it. */
    bool ok = !curl_easy_setopt(e, CURLOPT_URL, what->url) && !curl_easy_setopt(e, CURLOPT_PRIVATE, (void *)call) &&
              !curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) && !curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) &&
              !curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
              !curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER) &&
              !curl_easy_setopt(e, CURLOPT_USERAGENT, "errand/" ERRAND_VERSION) &&
              !curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers) &&
              !curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, (long)what->fresh);
    if (ok && strcmp(what->method, "HEAD") == 0)
        return !curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    if (ok && strcmp(what->method, "GET") != 0) {
        ok = !curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)what->body.len) &&
             !curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, what->body.len ? what->body.ptr : "") &&
             !curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, what->method);
    }
    return ok;
}

static void on_fail(void *ctx)
{
    struct http_flow *call = ctx;
    call_fail(call, call->fail_err, err_sentence(call->fail_err));
}

static void fail_later(struct http_flow *call, enum err err)
{
    if (call->easy)
        curl_easy_cleanup(call->easy);
    call->easy = NULL;
    call->fail_err = err;
    loop_timer_set(&call->fail, 0);
}

static void on_resume(void *ctx)
{
    struct http_flow *call = ctx;
    if (!call->easy || call->closed || call->paused)
        return;
    heard(call);
    CURLcode code = curl_easy_pause(call->easy, CURLPAUSE_CONT);
    if (code != CURLE_OK && !call->closed)
        call_failed_in_curl(call, code); /* curl would say it to nobody else */
}

static struct http_flow *call_new(struct http_client *c, const struct http_call *what, void *ctx)
{
    struct http_flow *call = calloc(1, sizeof *call);
    PRE(call); /* a few bytes, and its callback must come */
    *call = (struct http_flow){.client = c,
                               .next = c->calls,
                               .link = &c->calls,
                               .ctx = ctx,
                               .max = what->max_response,
                               .local = what->unix_socket != NULL,
                               .idle_ms = what->idle_ms};
    if (call->next)
        call->next->link = &call->next;
    c->calls = call;
    c->open++;
    loop_timer_init(&call->fail, c->loop, on_fail, call);
    loop_timer_init(&call->idle, c->loop, on_idle, call);
    loop_timer_init(&call->resume, c->loop, on_resume, call);
    strbuf_init(&call->body, what->max_response);
    return call;
}

static void call_begin(struct http_flow *call, const struct http_call *what)
{
    call->easy = curl_easy_init();
    if (!add_headers(call, what) || !call->easy || !set_bounds(call, what) || !set_request(call, what))
        fail_later(call, ERR_NO_MEMORY);
    else if (curl_multi_add_handle(call->client->multi, call->easy) != CURLM_OK)
        fail_later(call, ERR_INTERNAL);
    else
        heard(call);
}

void http_client_send(struct http_client *c, const struct http_call *what, http_answer_fn fn, void *ctx)
{
    PRE(what->timeout_ms > 0);
    struct http_flow *call = call_new(c, what, ctx);
    call->fn = fn;
    call_begin(call, what);
}

struct http_flow *http_client_flow(struct http_client *c, const struct http_call *what, const struct http_flow_fns *fns,
                                   void *ctx)
{
    PRE(what->timeout_ms >= 0);
    struct http_flow *call = call_new(c, what, ctx);
    call->fns = fns;
    call_begin(call, what);
    return call;
}

void http_flow_pause(struct http_flow *s, bool on)
{
    if (s->paused == on)
        return;
    s->paused = on;
    if (on)
        loop_timer_stop(&s->idle); /* it is us who do not read */
    else
        loop_timer_set(&s->resume, 0);
}

void http_flow_close(struct http_flow *s)
{
    s->closed = true; /* curl may be on the stack: it lets go of it on its way, or else the timer does */
    loop_timer_stop(&s->idle);
    loop_timer_stop(&s->resume);
    s->fail_err = ERR_CANCELED;
    loop_timer_set(&s->fail, 0);
}

/* ---- the client ---- */

struct http_client *http_client_new(struct loop *l, bool allow_private)
{
    pthread_once(&once, global_init);
    struct http_client *c = calloc(1, sizeof *c);
    CURLM *multi = c ? curl_multi_init() : NULL;
    if (!multi) {
        free(c);
        return NULL;
    }
    *c = (struct http_client){.loop = l, .multi = multi, .allow_private = allow_private};
    loop_timer_init(&c->timer, l, on_timer, c);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX);
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    PRE(!c->calling);
    while (c->calls)
        call_fail(c->calls, ERR_CANCELED, "Given up");
    curl_multi_cleanup(c->multi); /* closes the kept connections, whose sockets are taken off the loop on the way */
    loop_timer_stop(&c->timer);
    free(c->ca_file);
    free(c);
}

void http_client_trust(struct http_client *c, const char *ca_file)
{
    free(c->ca_file);
    c->ca_file = ca_file && *ca_file ? strdup(ca_file) : NULL;
    PRE(!ca_file || !*ca_file || c->ca_file); /* trusting others than was asked for would be worse than the end */
}

size_t http_client_open(const struct http_client *c)
{
    return c->open;
}
