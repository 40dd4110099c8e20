/* Bundles between this machine and the API: up, only what is missing; down, verified. */
#ifndef ERRAND_CLI_BUNDLE_H
#define ERRAND_CLI_BUNDLE_H

#include "cli/cli.h"
#include "common/strbuf.h"

struct bundle_upload {
    struct str archive;
    const char *digest;      /* sha256:HEX of it */
    int64_t files, unpacked; /* as POST /v1/bundles takes them; -1: not known */
};

/* Sends what the workspace does not have of it; progress on a terminal. Returns the exit status, after a complaint unless EXIT_OK. ret_sent, ret_chunks: how many chunks were sent, of how many (0 of 0: it was there). */
int bundle_send(struct cli *cli, const struct bundle_upload *u, size_t *ret_sent, size_t *ret_chunks);
/* Fetches the archive of that digest and verifies it. out: with a cap of LIMIT_BUNDLE. */
int bundle_fetch(struct cli *cli, struct str digest, struct strbuf *out);

#endif
