#include "runner/result_check.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/crypto.h"
#include "common/schema_cache.h"
#include "runner/outcome.h"

void result_check_init(struct attempt *a, const struct json *def)
{
    const struct json *text = json_get(def, "outputSchema"), *strict = json_get(def, "strictOutput");
    struct schema_cache *cache = a->shard->worker->schemas;
    struct schema_fault fault;
    struct schema *s;
    char digest[65];
    if (!text || a->remote)
        return;
    a->checks_output = true;
    a->strict_output = strict && strict->type == JSON_BOOL && strict->boolean;
    crypto_sha256_hex(text->raw, digest);
    s = schema_cache_find(cache, str_of(digest), NULL);
    if (s || schema_cache_put(cache, str_of(digest), STR(""), text->raw, &s, &fault) == ERR_OK)
        a->output_schema = schema_ref(s); /* else there is none: told at the end */
}

void result_check_done(struct attempt *a)
{
    schema_unref(a->output_schema);
    a->output_schema = NULL;
    strbuf_done(&a->warnings);
    free(a->output_fault);
    a->output_fault = NULL;
}

static void one_fault(struct schema_faults *faults, const char *message)
{
    faults->n = 1;
    faults->list[0] = (struct schema_fault){.keyword = ""};
    snprintf(faults->list[0].message, sizeof faults->list[0].message, "%s", message);
}

/* Nothing counts as null. */
static bool meets(struct attempt *a, struct schema_faults *faults)
{
    struct strbuf result;
    bool ok = false;
    strbuf_init(&result, 2 * (size_t)LIMIT_RESULT);
    bool whole = outcome_result(a, &result);
    if (!a->output_schema)
        one_fault(faults, "can't be checked: the agent's outputSchema is none that is understood here");
    else if (!whole)
        one_fault(faults, "is over its limit, so it was neither kept nor checked");
    else
        ok = schema_check(a->output_schema, result.len > 0 ? strbuf_str(&result) : STR("null"), faults);
    strbuf_done(&result);
    return ok;
}

void result_check(struct attempt *a)
{
    struct outcome o;
    struct schema_faults *faults;
    char message[OUTPUT_INVALID_MAX];
    if (!a->checks_output || a->output_checked)
        return;
    a->output_checked = true;
    outcome_of(a, &o);
    if (strcmp(o.status, "success") != 0)
        return;
    faults = malloc(sizeof *faults);
    PRE(faults);
    strbuf_init(&a->warnings, 1 << 20);
    if (!meets(a, faults)) {
        if (a->strict_output)
            a->output_fault = strdup(schema_output_message(faults, message));
        else
            schema_faults_write(faults, &a->warnings);
        PRE(!a->strict_output || a->output_fault);
    }
    free(faults);
}
