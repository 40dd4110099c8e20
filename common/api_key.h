/* The form of an API key: `errand_<id>_<secret><checksum>`. The id (16 of 0-9a-z) names its record; the secret is 43 characters of base62 (256 bits), of which Redis keeps the SHA-256 only; the checksum (6 of base62)
 * tells typos, and lets scanners recognise a key, without any look-up: it says nothing about whether the key is valid. Pure but for randomness. */
#ifndef ERRAND_COMMON_API_KEY_H
#define ERRAND_COMMON_API_KEY_H

#include "common/crypto.h"

enum { API_KEY_ID_LEN = 16, API_KEY_SECRET_LEN = 43, API_KEY_SUM_LEN = 6, API_KEY_LEN = 7 + 16 + 1 + 43 + 6 };

struct api_key {
    char id[API_KEY_ID_LEN + 1];
    char text[API_KEY_LEN + 1];    /* the whole key: shown once, then to be wiped */
    char hash[SHA256_HEX_LEN + 1]; /* of its secret: what is stored */
};

/* A new key; with the id of an existing one ("" for a new one) a new secret of that. */
void api_key_make(struct str id, struct api_key *ret_key);
/* Whether it begins as a key does: then it was meant as one. */
bool api_key_looks_like(struct str text);
/* Takes a key apart; false when its form or its checksum is wrong. The slices borrow. */
MUST_CHECK bool api_key_parse(struct str text, struct str *ret_id, struct str *ret_secret);
/* Whether it may be the id of a key. */
bool api_key_id_valid(struct str id);

#endif
