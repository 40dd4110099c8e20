#include "api/input_check.h"

#include "api/audit.h"
#include "api/problem.h"
#include "common/schema_cache.h"

static struct str write_faults(struct call *c, const struct schema_faults *faults)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    schema_faults_write(faults, &out);
    struct str copy = arena_str(&c->req->arena, strbuf_str(&out));
    strbuf_done(&out);
    return copy.ptr ? copy : STR("[]");
}

static bool meets(struct call *c, const struct schema *s, struct str input, struct str *ret_faults)
{
    struct schema_faults faults;
    if (schema_check_within(s, input, &c->work, &faults))
        return true;
    if (ret_faults)
        *ret_faults = write_faults(c, &faults);
    return false;
}

static struct str agent_key(struct call *c, struct str agent)
{
    const struct str parts[] = {c->workspace, STR("\n"), agent};
    return arena_join(&c->req->arena, parts, ARRAY_LEN(parts));
}

/* One that can't be compiled was stored by an older version of this program: nothing can be said of any input. */
static bool compile(struct call *c, struct str key, struct str digest, struct str text, struct schema **ret_schema,
                    struct str *ret_faults)
{
    struct schema_faults faults = {.n = 1};
    enum err err = schema_cache_put(c->node->schemas, key, digest, text, ret_schema, &faults.list[0]);
    if (!err)
        return true;
    faults.list[0] = (struct schema_fault){
        .keyword = "",
        .message = "can't be checked: the agent's inputSchema is none that is understood here; PUT the agent again"};
    *ret_faults = write_faults(c, &faults);
    return false;
}

static struct str schema_of(const struct definition *def)
{
    for (size_t i = 0; i + 1 < def->field_count; i += 2)
        if (str_eqz(def->fields[i], "inputSchema"))
            return def->fields[i + 1];
    return STR("");
}

static bool check_inline(struct call *c, const struct definition *def, struct str input, struct str *ret_digest,
                         struct str *ret_faults)
{
    struct str text = schema_of(def), digest = str_of(def->digest);
    if (text.len == 0)
        return true;
    struct schema *s = schema_cache_find(c->node->schemas, digest, NULL);
    if (!s && !compile(c, digest, digest, text, &s, ret_faults))
        return false;
    *ret_digest = digest;
    return meets(c, s, input, ret_faults);
}

bool input_check_first(struct call *c, const struct definition *def, struct str agent, struct str input,
                       struct str *ret_digest, struct str *ret_faults)
{
    struct str seen = STR("");
    *ret_digest = STR("");
    if (def)
        return check_inline(c, def, input, ret_digest, ret_faults);
    const struct schema *s = schema_cache_find(c->node->schemas, agent_key(c, agent), &seen);
    if (s && meets(c, s, input, NULL)) /* one that does not may meet a newer version's */
        *ret_digest = arena_str(&c->req->arena, seen);
    return true;
}

bool input_check(struct call *c, struct str agent, struct str digest, struct str schema, struct str input,
                 struct str *ret_faults)
{
    struct str key = agent.len > 0 ? agent_key(c, agent) : digest, known = STR("");
    struct schema *s = schema_cache_find(c->node->schemas, key, &known);
    if (!s || !str_eq(known, digest)) { /* else another item of a batch brought it meanwhile */
        if (!compile(c, key, digest, schema, &s, ret_faults))
            return false;
    }
    return meets(c, s, input, ret_faults);
}

const char *input_detail(struct call *c, struct str faults)
{
    struct json *list;
    if (json_parse(&c->req->arena, faults, 4, 4, &list, NULL) != ERR_OK || list->count == 0)
        return NULL;
    struct str pointer = json_get(list->child, "pointer")->string, message = json_get(list->child, "message")->string;
    size_t more = list->count - 1;
    return call_text(c, "input%.*s: %.*s%s (the agent's inputSchema says so)", STR_ARG(pointer), STR_ARG(message),
                     more == 0   ? ""
                     : more == 1 ? ", and one more fault"
                                 : call_text(c, ", and %zu more faults", more));
}

void input_refuse(struct call *c, struct str faults)
{
    struct strbuf members;
    strbuf_init(&members, 1 << 20); /* more than a sentence's worth */
    strbuf_addz(&members, "\"faults\":");
    strbuf_add(&members, faults);
    audit_outcome(c, ERR_INPUT_INVALID);
    problem_reply_with(c->req, ERR_INPUT_INVALID, err_status(ERR_INPUT_INVALID), input_detail(c, faults),
                       strbuf_failed(&members) ? NULL : members.ptr);
    strbuf_done(&members);
}
