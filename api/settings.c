#include "api/settings.h"

#include "api/validate.h"
#include "common/keys.h"

static bool refuse(struct call *c, enum err err, const char *detail)
{
    call_problem(c, err, detail);
    return false;
}

static bool take(struct call *c, const struct setting *s, const struct json *v, int64_t *value)
{
    if (s->type == SETTING_BOOL) {
        if (v->type != JSON_BOOL)
            return refuse(c, ERR_INVALID_FIELD, call_text(c, "%s must be true or false", s->name));
        *value = v->boolean;
        return true;
    }
    bool none = v->type == JSON_NULL;
    if (!none && (v->type != JSON_INT || v->integer < 1 || v->integer > s->max))
        return refuse(
            c, ERR_INVALID_FIELD,
            call_text(c, "%s must be an integer from 1 to %lld, or null for none", s->name, (long long)s->max));
    *value = none ? 0 : v->integer;
    return true;
}

bool settings_read(struct call *c, const struct setting *table, size_t count, int64_t *values)
{
    const struct json *root;
    struct fault fault;
    if (!validate_body(&c->req->arena, c->req->body, &root, &fault))
        return refuse(c, fault.err, fault.detail);
    if (root->type != JSON_OBJECT)
        return refuse(c, ERR_INVALID_FIELD, "the settings must be an object");
    if (root->repeated_key)
        return refuse(c, ERR_INVALID_FIELD, "a field stands twice in one object");
    for (const struct json *m = root->child; m; m = m->next) {
        size_t i = 0;
        while (i < count && !str_eqz(m->key, table[i].name))
            i++;
        if (i == count)
            return refuse(c, ERR_UNKNOWN_FIELD,
                          call_text(c, "%.*s is not a field of this; remove it",
                                    (int)(m->key.len > 100 ? 100 : m->key.len), m->key.ptr));
        if (!take(c, &table[i], m, &values[i]))
            return false;
    }
    return true;
}
