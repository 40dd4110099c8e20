/* The hash chain of an audit log: h(n) = SHA-256 over h(n-1) and the fields of entry n, each preceded by its length. What stands before the first entry is made from the workspace's name, so that no log passes for another's.
 * The sealer (api/sealer.c) stores h now and then, whoever verifies works it out again. Pure. */
#ifndef ERRAND_COMMON_CHAIN_H
#define ERRAND_COMMON_CHAIN_H

#include "common/crypto.h"

/* An entry as it is stored: all of it is in the chain. Slices borrow. */
struct chain_entry {
    int64_t n;    /* 1, 2, 3 … */
    int64_t t_ms; /* never falls */
    struct str who, from, what, object, request, outcome, detail;
};

/* What the chain of a workspace's log begins with; as hex. */
void chain_begin(struct str workspace, char ret_h[SHA256_HEX_LEN + 1]);
/* h is that of the entry before, and becomes that of this one. */
void chain_add(char h[SHA256_HEX_LEN + 1], const struct chain_entry *e);
/* Reads the id of an entry or a seal, `<ms>-<n>`, both within 2^53. False when it is none. */
bool chain_id(struct str id, int64_t *ret_t_ms, int64_t *ret_n);
/* A whole number of digits alone, within 2^53. False when it is none. */
bool chain_number(struct str text, int64_t *ret_n);

#endif
