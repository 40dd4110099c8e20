/* Bodies from outside → typed structs. Everything borrows from the request's arena. A refusal names the field and what to do. */
#ifndef ERRAND_API_VALIDATE_H
#define ERRAND_API_VALIDATE_H

#include "api/http.h"
#include "common/json.h"
#include "common/limits.h"

struct fault {
    enum err err;
    const char *detail; /* in the arena; names the field */
};

enum { DEFINITION_FIELDS = 72 };

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
    int64_t start_within_ms, stall_ms; /* 0: the definition's */
    struct str on_limit;               /* queue, reject or replace */
    struct str gates[2];               /* as the script takes them: `k:KEY=LIMIT`, `rk:KEY=LIMIT/PERMS/BURST` */
    size_t gates_len;
    struct str *depends; /* run ids; in a batch also "#N" */
    size_t depends_len;
    struct str on_dep_fail; /* fail or run */
    struct str *requires;   /* tags */
    size_t requires_len;
    struct str hook;                  /* a webhook that is told of its end; "" for none */
    struct str hook_url, hook_secret; /* or one of its own; checked and sealed by submit_webhook */
    struct str hook_sealed;
};

/* root: the parsed definition; name: what the path calls it ("" for inline). False and *ret_fault when it is refused. */
MUST_CHECK bool validate_definition(struct arena *a, const struct json *root, struct str name, const char *at,
                                    struct definition *ret_def, struct fault *ret_fault);
/* Binds a definition that names a bundle to the workspace whose bundle it is: part of its digest from here on, so that workspaces never share it. Others stay as they are. To be called before a script is given its fields; what a
 * script is given without it is refused there. */
void definition_own(struct arena *a, struct definition *def, struct str workspace);
/* How a submission may be written: also with agentId, inputDict, envVars; in a batch, whose runs are named "#N" in dependsOn. */
enum { SUBMISSION_ALIASES = 1, SUBMISSION_REFS = 2 };
/* at: what field names are preceded by in messages ("" or "runs[3]."). forms: of the bits above. */
MUST_CHECK bool validate_submission(struct arena *a, const struct json *root, const char *at, unsigned forms,
                                    struct submission *ret_sub, struct fault *ret_fault);
/* A JSON body into a tree of objects four levels deep; ERR_INVALID_JSON with a detail. */
MUST_CHECK bool validate_body(struct arena *a, struct str body, const struct json **ret_root, struct fault *ret_fault);

#endif
