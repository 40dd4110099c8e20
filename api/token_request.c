#include "api/token_request.h"

#include <strings.h>

#include "api/validate_fields.h"
#include "common/scope.h"

#define GRANT  "urn:ietf:params:oauth:grant-type:token-exchange"
#define TYPE   "urn:ietf:params:oauth:token-type:"
#define IS_ONE "urn:ietf:params:oauth:token-type:id_token or …:jwt"

/* As sent; the two spellings of one thing beside each other. */
struct sent {
    struct str token, subject_token, grant_type, subject_token_type, requested_token_type;
    struct str workspace, audience, policy, scope;
};

static bool take_param(struct check *c, const struct json *v, const char *name, void *out)
{
    if (v->type != JSON_STRING || v->string.len == 0 || memchr(v->string.ptr, 0, v->string.len))
        return refuse(c, ERR_INVALID_FIELD, "%s must be a string that is not empty", name);
    *(struct str *)out = v->string;
    return true;
}

static const struct field fields[] = {
#define AT(member) offsetof(struct sent, member)
    {"token", take_param, AT(token), 0, 0},
    {"policy", take_name, AT(policy), 0, 0},
    {"workspace", take_name, AT(workspace), 0, 0},
    {"scope", take_param, AT(scope), 0, 0},
    {"grant_type", take_param, AT(grant_type), 0, 0},
    {"subject_token", take_param, AT(subject_token), 0, 0},
    {"subject_token_type", take_param, AT(subject_token_type), 0, 0},
    {"requested_token_type", take_param, AT(requested_token_type), 0, 0},
    {"audience", take_name, AT(audience), 0, 0},
#undef AT
};

/* ---- a form, as the object that it stands for ---- */

/* Percent- and plus-decoded, as a JSON string. */
static bool add_decoded(struct arena *a, struct strbuf *out, struct str text)
{
    char *decoded = arena_alloc(a, text.len);
    size_t len = 0;
    for (size_t i = 0; decoded && i < text.len; i++) {
        char ch = text.ptr[i];
        if (ch == '%') {
            int high = i + 2 < text.len ? hex_value(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            ch = (char)(high * 16 + low);
            i += 2;
        } else if (ch == '+') {
            ch = ' ';
        }
        decoded[len++] = ch;
    }
    if (!decoded)
        return false;
    json_quote(out, (struct str){decoded, len});
    return true;
}

static bool form_to_json(struct arena *a, struct str form, struct strbuf *out)
{
    bool ok = true, first = true;
    strbuf_addc(out, '{');
    while (ok && form.len > 0) {
        const char *end = memchr(form.ptr, '&', form.len);
        struct str pair = {form.ptr, end ? (size_t)(end - form.ptr) : form.len};
        form.ptr += pair.len + (end ? 1 : 0);
        form.len -= pair.len + (end ? 1 : 0);
        const char *is = pair.len ? memchr(pair.ptr, '=', pair.len) : NULL;
        if (!is)
            return false;
        struct str name = {pair.ptr, (size_t)(is - pair.ptr)}, value = {is + 1, pair.len - name.len - 1};
        strbuf_addz(out, first ? "" : ",");
        ok = add_decoded(a, out, name);
        strbuf_addc(out, ':');
        ok = ok && add_decoded(a, out, value);
        first = false;
    }
    strbuf_addc(out, '}');
    return ok && !strbuf_failed(out);
}

static bool parse(struct check *c, struct str content_type, struct str body, const struct json **ret_root)
{
    static const char form[] = "application/x-www-form-urlencoded";
    size_t len = sizeof form - 1;
    bool is_form = content_type.len >= len && strncasecmp(content_type.ptr, form, len) == 0 &&
                   (content_type.len == len || strchr("; \t", content_type.ptr[len]));
    if (!is_form)
        return validate_body(c->arena, body, ret_root, c->fault);
    struct strbuf text;
    strbuf_init(&text, 4 * (size_t)LIMIT_TOKEN_BODY);
    bool ok = form_to_json(c->arena, body, &text) || refuse(c, ERR_INVALID_FIELD, "the body is no valid form");
    ok = ok && validate_body(c->arena, strbuf_str(&text), ret_root, c->fault);
    strbuf_done(&text);
    return ok;
}

/* ---- what it means ---- */

static bool check_types(struct check *c, const struct sent *s)
{
    if (s->token.len > 0 && s->subject_token.len > 0)
        return refuse(c, ERR_INVALID_FIELD, "token and subject_token are two names of one thing; send one of them");
    if (s->token.len == 0 && s->subject_token.len == 0)
        return refuse(c, ERR_MISSING_FIELD, "token is required: an OIDC token of an issuer that a trust policy names");
    if (s->subject_token.len > 0 && (s->grant_type.len == 0 || s->subject_token_type.len == 0))
        return refuse(c, ERR_MISSING_FIELD, "grant_type and subject_token_type go with subject_token");
    if (s->grant_type.len > 0 && !str_eqz(s->grant_type, GRANT))
        return refuse(c, ERR_INVALID_FIELD, "grant_type must be " GRANT);
    if (s->subject_token_type.len > 0 && !str_eqz(s->subject_token_type, TYPE "id_token") &&
        !str_eqz(s->subject_token_type, TYPE "jwt"))
        return refuse(c, ERR_INVALID_FIELD, "subject_token_type must be " IS_ONE);
    if (s->requested_token_type.len > 0 && !str_eqz(s->requested_token_type, TYPE "access_token"))
        return refuse(c, ERR_INVALID_FIELD, "requested_token_type must be " TYPE "access_token");
    if (s->workspace.len > 0 && s->audience.len > 0 && !str_eq(s->workspace, s->audience))
        return refuse(c, ERR_INVALID_FIELD, "workspace and audience name different workspaces");
    return true;
}

static bool read_scope(struct check *c, struct str words, uint64_t *out)
{
    while (words.len > 0) {
        const char *space = memchr(words.ptr, ' ', words.len);
        struct str word = {words.ptr, space ? (size_t)(space - words.ptr) : words.len};
        enum scope scope = scope_of(word);
        if (scope == SCOPE_COUNT)
            return refuse(c, ERR_INVALID_FIELD, "scope must be scopes with one space between them; \"%.*s\" is none",
                          (int)(word.len > 64 ? 64 : word.len), word.ptr);
        *out |= SCOPE_BIT(scope);
        words.ptr += word.len + (space ? 1 : 0);
        words.len -= word.len + (space ? 1 : 0);
    }
    return true;
}

bool token_request_read(struct arena *a, struct str content_type, struct str body, struct token_request *ret_request,
                        struct fault *ret_fault)
{
    struct sent s = {.token = STR("")};
    struct token_request r = {.workspace = STR("default"), .policy = STR("")};
    struct check c = {a, "", ret_fault};
    const struct json *root;
    if (!parse(&c, content_type, body, &root))
        return false;
    if (root->type != JSON_OBJECT)
        return refuse(&c, ERR_INVALID_FIELD, "the body must be an object, like {\"token\": \"…\"}");
    if (!take_object(&c, root, fields, ARRAY_LEN(fields), &s) || !check_types(&c, &s) ||
        !read_scope(&c, s.scope, &r.scopes))
        return false;
    r.token = s.token.len > 0 ? s.token : s.subject_token;
    if (s.workspace.len > 0 || s.audience.len > 0)
        r.workspace = s.workspace.len > 0 ? s.workspace : s.audience;
    if (s.policy.len > 0)
        r.policy = s.policy;
    *ret_request = r;
    return true;
}
