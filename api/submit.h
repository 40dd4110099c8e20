/* From a validated submission to the `submit` script, for every route that makes runs. */
#ifndef ERRAND_API_SUBMIT_H
#define ERRAND_API_SUBMIT_H

#include "api/routes.h"
#include "api/validate.h"

struct submitted {
    struct id run_id;
    struct str status;
    bool replayed;
    bool durable;      /* false: min_replicas did not confirm in time */
    struct str faults; /* of the input: with ERR_INPUT_INVALID, and then nothing else is set */
};
/* s: NULL with an error other than ERR_INPUT_INVALID. */
typedef void (*submit_fn)(void *ctx, enum err err, const struct submitted *s);

struct submit_order {
    struct call *call;
    const struct submission *sub;
    struct str idem_key;     /* "" for none */
    const char *idem_digest; /* hex */
    struct str def_digest;   /* a rerun: the stored definition; "" otherwise */
    struct str agent_version;
    struct str rerun_of;
    struct str redrive; /* the dead letter that this takes out; "" for none */
    submit_fn fn;
    void *ctx;
};

/* A run's own webhook: looks at its URL and seals its secret. Nothing to do where there is none. False and *ret_fault when it is refused; at: as validate_submission's. */
MUST_CHECK bool submit_webhook(struct call *c, const char *at, struct submission *sub, struct fault *ret_fault);
/* Runs the script; fn is called once, later. order is copied, with its sub. What these point to is the request's; a rerun's (def_digest: its input was checked when the run it comes from was accepted) need not outlive
 * this call. */
void submit_run(const struct submit_order *order);
/* What of a submission is kept in the run hash as it is: field, value, … Borrowed. */
enum { SUBMIT_FIELDS = 24 };
struct submit_fields {
    struct str kv[SUBMIT_FIELDS];
    size_t n;
};
void submit_fields(const struct call *c, const struct submission *s, struct submit_fields *ret_fields);
/* Reads Idempotency-Key into *ret_key ("" for none) and makes the digest of what is asked (kind, workspace, body; "" without a key). False when the header is malformed (*ret_fault). */
MUST_CHECK bool submit_idempotency(struct call *c, const char *kind, struct str *ret_key, char ret_digest[65],
                                   struct fault *ret_fault);
/* Answers an error of submit, with what on_submit was given. */
void submit_refuse(struct call *c, enum err err, const struct submitted *s);
/* What to tell for an error of submit. */
const char *submit_detail(enum err err);
/* Where the run's stream is read without a header: a path with a token, behind public_url. In the arena. */
struct str submit_stream_url(struct call *c, struct str run_id);
/* Writes {runId, status, streamUrl, durable?}. */

void submit_write(struct json_writer *w, struct call *c, const struct submitted *s);

#endif
