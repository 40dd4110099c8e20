/* What validators of bodies are made of: one check under way, tables of fields, and what takes a single field. Everything borrows from the request's arena. */
#ifndef ERRAND_API_VALIDATE_FIELDS_H
#define ERRAND_API_VALIDATE_FIELDS_H

#include "api/validate.h"

/* One validation under way. at: what field names are preceded by in messages. */
struct check {
    struct arena *arena;
    const char *at;
    struct fault *fault;
};

/* Takes a field's value into *out; false when it was refused (c->fault says why). */
typedef bool (*field_fn)(struct check *c, const struct json *v, const char *name, void *out);

struct field {
    const char *name;
    field_fn fn;   /* NULL: an integer from min to max, into an int64_t */
    size_t offset; /* in the struct that is filled */
    int64_t min, max;
};

/* Always false. The sentence names the field and what to do. */
bool refuse(struct check *c, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Walks an object's members through a table; what the table does not know is refused by name. */
MUST_CHECK bool take_object(struct check *c, const struct json *o, const struct field *fields, size_t n, void *out);
/* Whether a text is one of the words; refused otherwise, naming them. */
MUST_CHECK bool one_of(struct check *c, struct str value, const char *name, const char *const *words, size_t n);

/* Into a struct str: the name of an agent, queue, workspace; a text of at most 1,024 bytes; the value's JSON as it is; one of a run's priorities; a run's id. */
bool take_name(struct check *c, const struct json *v, const char *name, void *out);
bool take_text(struct check *c, const struct json *v, const char *name, void *out);
bool take_raw(struct check *c, const struct json *v, const char *name, void *out);
bool take_priority(struct check *c, const struct json *v, const char *name, void *out);
bool take_run_id(struct check *c, const struct json *v, const char *name, void *out);
/* A key of a limit: any text of 1 to LIMIT_KEY bytes. */
bool take_key(struct check *c, const struct json *v, const char *name, void *out);
/* Into a bool. */
bool take_bool(struct check *c, const struct json *v, const char *name, void *out);
/* A time into an int64_t, ms; at least 1. */
bool take_time(struct check *c, const struct json *v, const char *name, void *out);
/* Into an int64_t from min to max. */
bool take_int(struct check *c, const struct json *v, const char *name, int64_t min, int64_t max, int64_t *out);
/* A run's env {"KEY": "value"}: its JSON into a struct str. */
bool take_env(struct check *c, const struct json *v, const char *name, void *out);
/* {"key": "value"} into a struct str: canonical JSON, because the list filter compares stored text. */
bool take_labels(struct check *c, const struct json *v, const char *name, void *out);

/* What a definition says of its environment, as sent and as a tree. */
struct declared {
    struct str raw;
    const struct json *list; /* NULL: nothing */
};
/* validate_env.c. env [{"key", "value" | "secret", "description"?}], and dataSources [{"engine", "name", "fields": {FIELD: {"value" | "secret"}}}]: into a struct declared. */
bool take_env_list(struct check *c, const struct json *v, const char *name, void *out);
bool take_data_sources(struct check *c, const struct json *v, const char *name, void *out);
/* Both together: bounds of the whole, and no two variables of one name. */
MUST_CHECK bool check_environment(struct check *c, const struct declared *env, const struct declared *sources);

/* A rate limit: `limit` runs each `per_ms`, and how many may go at once. limit 0: none. */
struct rate {
    struct str key; /* "" where no key is taken */
    int64_t limit, per_ms, burst;
};
/* {limit, perMs?, burst?} into a struct rate; take_keyed_rate wants {key, …}. */
bool take_rate(struct check *c, const struct json *v, const char *name, void *out);
bool take_keyed_rate(struct check *c, const struct json *v, const char *name, void *out);
/* `100/1000/1`, as scripts read it; "" for none. In the arena. */
struct str rate_text(struct arena *a, const struct rate *r);
/* Any text as the name of a gate: letters, digits, '.', '_' and '-' stay, other bytes become %XX. In the arena. */
struct str gate_escape(struct arena *a, struct str key);

/* An array of words, as its JSON and as a space-separated text. */
struct words {
    struct str raw, text;
    size_t count;
};
/* Tags (`gpu`, `region=lhr`), each once, into a struct words. */
bool take_tags(struct check *c, const struct json *v, const char *name, void *out);
/* Capabilities that the executor must enforce, each once, into a struct words. */
bool take_capabilities(struct check *c, const struct json *v, const char *name, void *out);
/* Classes of errors that an attempt can end with, into a struct words. */
bool take_error_classes(struct check *c, const struct json *v, const char *name, void *out);

/* validate_execution.c: what a definition says of how it is executed. Texts are "" where it says nothing, numbers 0. */
struct resources {
    int64_t cpu_milli, memory_mb, pids, disk_mb;
};
struct pool {
    struct str base; /* process or sandbox */
    int64_t min, max, idle_ms, max_runs;
};
struct execution {
    struct str image, url, model, system, region, bundle, network;
    struct words hosts;
    struct resources resources;
    struct pool pool;
    struct str llm, input_schema, output_schema; /* raw JSON */
    bool runtime_deps, strict_output;
};
bool take_system(struct check *c, const struct json *v, const char *name, void *out);
bool take_bundle(struct check *c, const struct json *v, const char *name, void *out);
bool take_hosts(struct check *c, const struct json *v, const char *name, void *out);
bool take_resources(struct check *c, const struct json *v, const char *name, void *out);
bool take_pool(struct check *c, const struct json *v, const char *name, void *out);
bool take_llm_settings(struct check *c, const struct json *v, const char *name, void *out);
bool take_schema(struct check *c, const struct json *v, const char *name, void *out);
/* Whether it all goes with the executor; what the executor needs is there; defaults are filled in. */
MUST_CHECK bool check_execution(struct check *c, struct str executor, bool has_command, struct str provider,
                                struct execution *x);
/* What a pool can't do: its workers speak the protocol `events`, and only those over `sandbox` are contained. */
MUST_CHECK bool check_pool(struct check *c, struct str protocol, struct str source, const struct words *needs,
                           const struct execution *x);
/* Whether an executor's runtime writes its own events unless the agent says otherwise; whether runs of it take input while they run. PRE: it is one. */
bool execution_remote_default(struct str executor);
bool execution_takes_input(struct str executor);
/* The capabilities that were asked for, and those that what it says can't do without: words, in the arena. */
struct str execution_needs(struct arena *a, const struct words *asked, const struct execution *x);
/* Its members of the canonical definition. */
void execution_write(struct json_writer *w, const struct execution *x);

#endif
