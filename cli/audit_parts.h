/* The parts of the audit: what a run must be in (audit_runs.c, audit_events.c), what may be in a structure (audit_keys.c, audit_gates.c, audit_hooks.c), and the
 * counters (audit_counters.c). */
#ifndef ERRAND_CLI_AUDIT_PARTS_H
#define ERRAND_CLI_AUDIT_PARTS_H

#include "cli/audit_engine.h"

/* Calls fn with the names (without the prefix) of keys that begin with the glob `start`, in batches of at most AUDIT_BATCH; one may come twice. fn frees what it reads. */
void audit_scan(struct audit *a, const char *start, void (*fn)(struct audit *a, const char *const *paths, size_t n));

/* ---- pass 1: every run, and what else is counted ---- */
void audit_runs(struct audit *a, const char *const *ids, size_t n);
/* Those that looked wrong, each in a transaction. */
void audit_runs_doubted(struct audit *a);
/* Adds what is to be true of a run's attempts and of its last event. */
void audit_events_expect(struct audit *a, const struct run *run);
/* Reads the whole stream. */
void audit_events_read(struct audit *a, const struct run *run);

/* Begins to watch the counters. */
void audit_counters_begin(struct audit *a);
/* Counts a run; for its first time only. */
void audit_counters_run(struct audit *a, const struct run *run);
/* An agent, a schedule, a use:WS, definitions, a bundle (or a chunk of one) that are there: the count of its users, or its bytes, is one of those compared. */
void audit_counters_agent(struct audit *a, const char *path);
void audit_counters_schedule(struct audit *a, const char *path);
void audit_counters_use(struct audit *a, const char *path);
void audit_counters_defs(struct audit *a, const char *const *paths, size_t n);
void audit_counters_bundle(struct audit *a, const char *path);
/* Compares. */
void audit_counters_end(struct audit *a);

/* ---- pass 2: every other key ---- */

struct kind {
    const char *name; /* a path's first part */
    const char *type;
    size_t parts; /* of its path */
    /* Adds what is to be true of the key; NULL for nothing. It may ask Redis. */
    void (*expect)(struct audit *a, const char *path, const char *const *parts);
    /* Looks at its members; NULL for none. */
    void (*walk)(struct audit *a, const char *path, const char *const *parts);
};
/* Each ends with an empty row. The type of a bundle's key is said by its path (audit_bundle_type). */
extern const struct kind audit_kinds[], audit_gate_kinds[], audit_hook_kinds[], audit_bundle_kinds[];
const char *audit_bundle_type(const char *const *parts);
/* A batch of keys of any kind. */
void audit_keys(struct audit *a, const char *const *paths, size_t n);

#endif
