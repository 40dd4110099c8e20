/* What a key may do: THE table of scopes. A route names the one it needs (routes.c); a key holds a set of them. */
#ifndef ERRAND_COMMON_SCOPE_H
#define ERRAND_COMMON_SCOPE_H

#include "common/base.h"

/* Columns: C name, word, whether it reaches beyond the key's workspace, what it allows. */
#define SCOPE_TABLE(X)                                                                                                 \
    X(SCOPE_RUNS_CREATE, "runs:create", false, "submit, rerun and redrive runs")                                       \
    X(SCOPE_RUNS_READ, "runs:read", false, "read runs, their events, results and logs")                                \
    X(SCOPE_RUNS_STOP, "runs:stop", false, "stop runs")                                                                \
    X(SCOPE_RUNS_DELETE, "runs:delete", false, "delete ended runs")                                                    \
    X(SCOPE_AGENTS_READ, "agents:read", false, "read agents")                                                          \
    X(SCOPE_AGENTS_WRITE, "agents:write", false, "write and delete agents, and submit inline definitions")             \
    X(SCOPE_SCHEDULES_READ, "schedules:read", false, "read schedules")                                                 \
    X(SCOPE_SCHEDULES_WRITE, "schedules:write", false, "write, trigger and delete schedules")                          \
    X(SCOPE_SECRETS_READ, "secrets:read", false, "list the names and versions of secrets, never their values")         \
    X(SCOPE_SECRETS_WRITE, "secrets:write", false, "write and delete secrets")                                         \
    X(SCOPE_STORAGE_READ, "storage:read", false, "list and download what agents stored")                               \
    X(SCOPE_STORAGE_WRITE, "storage:write", false, "store and delete what agents find there")                          \
    X(SCOPE_WEBHOOKS_READ, "webhooks:read", false, "read webhooks and their deliveries")                               \
    X(SCOPE_WEBHOOKS_WRITE, "webhooks:write", false, "write and delete webhooks, and send deliveries again")           \
    X(SCOPE_AUDIT_READ, "audit:read", false, "read the audit log")                                                     \
    X(SCOPE_KEYS_ADMIN, "keys:admin", false, "make, change and revoke keys, with no more rights than its own")         \
    X(SCOPE_TRUST_ADMIN, "trust:admin", false, "say whose OIDC tokens are exchanged for which keys")                   \
    X(SCOPE_WORKSPACES_ADMIN, "workspaces:admin", true, "read and change the settings of workspaces")                  \
    X(SCOPE_QUEUES_READ, "queues:read", true, "read the figures of queues")                                            \
    X(SCOPE_QUEUES_WRITE, "queues:write", true, "change, pause and drain queues")                                      \
    X(SCOPE_RUNNERS_READ, "runners:read", true, "list runners")                                                        \
    X(SCOPE_RUNNERS_WRITE, "runners:write", true, "drain runners")

#define SCOPE_ENUM(name, word, beyond, what) name,
enum scope { SCOPE_TABLE(SCOPE_ENUM) SCOPE_COUNT };
#undef SCOPE_ENUM
/* Of a route that any valid key may use. */
#define SCOPE_ANY SCOPE_COUNT

/* A set of scopes: bit i for scope i. */
#define SCOPE_BIT(scope) (UINT64_C(1) << (scope))
#define SCOPES_ALL       (SCOPE_BIT(SCOPE_COUNT) - 1)

/* The word of a scope. Static. */
const char *scope_word(enum scope scope);
/* The scope of a word; SCOPE_COUNT when there is none. */
enum scope scope_of(struct str word);
/* Whether it reaches beyond a workspace. */
bool scope_reaches_beyond(enum scope scope);
/* The set that a comma list names; words that name none are passed over. */
uint64_t scopes_of(struct str words);

#endif
