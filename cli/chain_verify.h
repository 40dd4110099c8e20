/* Verifies an export of an audit log (NDJSON of GET /v1/audit), line by line: works the chain out again and compares it with the seals. What it holds does not grow. Pure. */
#ifndef ERRAND_CLI_CHAIN_VERIFY_H
#define ERRAND_CLI_CHAIN_VERIFY_H

#include "common/chain.h"
#include "common/limits.h"

#define CHAIN_LINE_MAX 16384
#define CHAIN_HEAD_MAX (16 + 1 + SHA256_HEX_LEN)

struct chain_verify {
    bool begun, ended;
    char workspace[LIMIT_NAME + 1];
    int64_t before;     /* number of the entry before the first one */
    char before_at[32]; /* its time, as the export says; "" where there is none */
    int64_t n, t_ms;    /* of the last entry */
    char h[SHA256_HEX_LEN + 1];
    int64_t sealed;            /* number of the last entry that a seal speaks of */
    int64_t unsealed_since_ms; /* time of the first entry behind it; 0: none */
    int64_t entries, seals, lines;
    int64_t expect_n; /* -1: none */
    char expect_h[SHA256_HEX_LEN + 1];
    bool expect_met;
    char why[640]; /* what does not fit, one sentence; "" as long as all does */
};

/* expect: `n:hash`, the head of an earlier verification, or NULL. False when it is none. */
MUST_CHECK bool chain_verify_init(struct chain_verify *v, const char *expect);
/* A line without its end. False from the first one on that does not fit: why says what. */
bool chain_verify_line(struct chain_verify *v, struct str line);
/* There are no more. Whether everything fits. */
bool chain_verify_end(struct chain_verify *v);
/* `n:hash` of the last entry: what to note down. */
void chain_verify_head(const struct chain_verify *v, char ret_head[CHAIN_HEAD_MAX + 1]);

#endif
