/* A browser's session: a key is sent once, and stands behind a cookie that scripts of the page can't read. It ends with the key. */
#include "api/audit.h"
#include "api/auth.h"
#include "api/handlers.h"
#include "common/crypto.h"
#include "common/json.h"

struct session_call {
    struct call *call;
    char token[44], digest[SHA256_HEX_LEN + 1];
};

static void set_cookie(struct call *c, const char *token, int64_t max_age_s)
{
    bool secure = c->node->config->session_cookie_secure;
    http_reply_header(
        c->req, "Set-Cookie",
        str_of(call_text(c, "%s=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%lld%s", auth_cookie_name(c->node),
                         token, (long long)max_age_s, secure ? "; Secure" : "")));
}

static void on_begun(void *ctx, enum err err, const struct script_session_put_reply *reply)
{
    struct session_call *s = ctx;
    struct call *c = s->call;
    struct strbuf out;
    struct json_writer w;
    if (err) {
        crypto_wipe(s, sizeof *s);
        call_problem(c, err, NULL);
        return;
    }
    set_cookie(c, s->token, (reply->until_ms - node_now_ms(c->node)) / 1000);
    crypto_wipe(s, sizeof *s);
    strbuf_init(&out, 4096);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_str(&w, "key", c->created_by);
    json_kv_str(&w, "workspace", c->workspace);
    json_kv_time(&w, "expiresAt", reply->until_ms);
    json_object_end(&w);
    call_json(c, 201, &out);
}

static void begin(struct call *c)
{
    struct session_call *s = arena_zalloc(&c->req->arena, sizeof *s);
    int64_t ttl_ms = c->node->config->session_ms, left_ms = c->until_ms - node_now_ms(c->node);
    if (!s) {
        call_problem(c, ERR_NO_MEMORY, NULL);
        return;
    }
    if (c->until_ms > 0 && left_ms < ttl_ms)
        ttl_ms = left_ms > 0 ? left_ms : 1;
    s->call = c;
    crypto_token(s->token);
    crypto_sha256_hex(str_of(s->token), s->digest);
    struct key global = keys_global(str_of(c->node->config->prefix));
    struct script_session_put_args args = {.session = str_of(s->digest),
                                           .id = c->created_by,
                                           .ttl_ms = ttl_ms,
                                           .proof = str_of(c->proof),
                                           .max = LIMIT_SESSIONS};
    script_call_session_put(c->node->shards[0].commands, key_str(&global), &args, on_begun, s);
}

void handle_session_create(struct call *c)
{
    if (c->session || str_eqz(c->created_by, "root")) {
        call_problem(c, ERR_FORBIDDEN,
                     c->session ? "a session can't begin another; send a key"
                                : "the root key does not belong into a browser; make a key");
        return;
    }
    if (call_body_empty(c))
        audit_then(c, c->created_by, begin);
}

static void on_ended(void *ctx, enum err err, const struct script_session_delete_reply *reply)
{
    struct call *c = ctx;
    (void)reply;
    if (!err)
        set_cookie(c, "", 0);
    call_done(c, err);
}

static void end(struct call *c)
{
    struct key global = keys_global(str_of(c->node->config->prefix));
    struct script_session_delete_args args = {.session = c->credential};
    script_call_session_delete(c->node->shards[0].commands, key_str(&global), &args, on_ended, c);
}

void handle_session_delete(struct call *c)
{
    if (c->session)
        audit_then(c, c->created_by, end);
    else
        call_problem(c, ERR_FORBIDDEN,
                     "this ends the session of the cookie that comes with it; a key is revoked by DELETE "
                     "/v1/keys/{id}");
}
