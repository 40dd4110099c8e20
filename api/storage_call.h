/* What requests for stored things have in common: whose storage it is (a runner token's run says it, or the key), the kind, the name. */
#ifndef ERRAND_API_STORAGE_CALL_H
#define ERRAND_API_STORAGE_CALL_H

#include "api/handlers.h"
#include "lua/scripts.h"

struct storage_call {
    struct call *call;
    struct shard *shard;
    struct str workspace;
    const char *kind; /* workflows, artifacts, vectors; static */
    struct str name;  /* empty in a list */
    void (*next)(struct storage_call *s);
};

/* Reads kind and name from the path (runner routes) or the query (`kind`, default artifacts), finds out the workspace, and goes on. Answers what is wrong. with_name: a name belongs to it. */
void storage_begin(struct call *c, bool with_name, void (*next)(struct storage_call *s));

/* Answers with a list of parts, one after the other, while it is what `about` says. content: the content type. */
void storage_send(struct storage_call *s, const char *content, const struct script_storage_get_reply *about);

#endif
