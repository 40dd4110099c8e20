/* Bodies from outside → typed structs. Everything borrows from the request's arena. A refusal names the field and what to do. */
#ifndef ERRAND_API_VALIDATE_H
#define ERRAND_API_VALIDATE_H

#include "api/http.h"
#include "common/json.h"

struct fault {
    enum err err;
    const char *detail; /* in the arena; names the field */
};

enum { DEFINITION_FIELDS = 24 };

/* An agent definition, checked, with its defaults filled in. */
struct definition {
    struct str name;
    struct str json;                      /* canonical */
    char digest[65];                      /* SHA-256 of it */
    struct str fields[DEFINITION_FIELDS]; /* field, value, …: what the scripts keep of it, json included */
    size_t field_count;
};

struct submission {
    struct str agent; /* name; "" for an inline definition without one */
    bool is_inline;
    struct definition def; /* when is_inline */
    struct str input;      /* raw JSON; "null" when there is none */
    struct str env;        /* raw JSON object or "" */
    struct str queue;      /* "" means the agent's */
    struct str priority;
    int64_t delay_ms, scheduled_ms, timeout_ms, max_attempts; /* 0: none */
    struct str labels;                                        /* canonical JSON object or "" */
    struct str parent;
    struct str session;
};

/* root: the parsed definition; name: what the path calls it ("" for inline). False and *ret_fault when it is refused. */
MUST_CHECK bool validate_definition(struct arena *a, const struct json *root, struct str name, const char *at,
                                    struct definition *ret_def, struct fault *ret_fault);
/* at: what field names are preceded by in messages ("" or "runs[3]."). aliases: agentId, inputDict, envVars are taken too. */
MUST_CHECK bool validate_submission(struct arena *a, const struct json *root, const char *at, bool aliases,
                                    struct submission *ret_sub, struct fault *ret_fault);
/* A JSON body into a tree of objects four levels deep; ERR_INVALID_JSON with a detail. */
MUST_CHECK bool validate_body(struct arena *a, struct str body, const struct json **ret_root, struct fault *ret_fault);

#endif
