/* `errand doctor --audit`: the audit of every shard (cli/audit.h), told to a person. Blocks; asks Redis alone. */
#ifndef ERRAND_CLI_DOCTOR_AUDIT_H
#define ERRAND_CLI_DOCTOR_AUDIT_H

#include "cli/cli.h"
#include "cli/redis_sync.h"

struct doctor_audit {
    const char *urls;         /* comma list: shard i lives at URL i mod n */
    struct redis_login login; /* where a URL has no password */
    const char *prefix;       /* of every key of the deployment */
    unsigned shards;
    bool events; /* read every event */
};

/* Prints the findings and a summary line. Returns EXIT_OK, EXIT_RUN_ERROR with findings, EXIT_UNREACHABLE. */
int doctor_audit(struct cli *cli, const struct doctor_audit *o);

#endif
