/* Seals the audit logs of one shard: Lua has no SHA-256, so what scripts append is chained here, by any node, each second and only where there is something new. Two nodes that do it at once work out the same; one stores it (audit_seal).
 * Also removes what is over the retention (audit_trim). Holds nothing: a node may end in the middle of it. */
#ifndef ERRAND_API_SEALER_H
#define ERRAND_API_SEALER_H

#include "common/config.h"
#include "common/redis.h"

enum { SEALER_JOBS = 16 };

struct sealer;
struct seal_job {
    struct sealer *sealer;
    char ws[LIMIT_NAME + 1];
    int64_t from, count; /* of the entries that are to be sealed */
};

struct sealer {
    const struct config *config;
    struct redis *commands;
    struct str prefix;
    struct loop_timer timer;
    struct seal_job jobs[2 * SEALER_JOBS]; /* of the round under way: what is open, then what is due to be trimmed */
    unsigned open;                         /* jobs and questions without an answer */
    bool progress;                         /* something was done, and more is to do */
};

/* Borrows all it is given. */
void sealer_start(struct sealer *s, struct loop *l, const struct config *config, struct redis *commands,
                  struct str prefix);
/* Before the connection is freed; answers that still come do no harm. */
void sealer_stop(struct sealer *s);

#endif
