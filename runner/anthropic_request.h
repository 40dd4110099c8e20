/* From an attempt's job to the body of a Messages API request. Pure. */
#ifndef ERRAND_RUNNER_ANTHROPIC_REQUEST_H
#define ERRAND_RUNNER_ANTHROPIC_REQUEST_H

#include "common/json.h"

enum { ANTHROPIC_MAX_TOKENS = 4096, ANTHROPIC_MODEL_MAX = 128 };

struct anthropic_job {
    struct str model;      /* with or without "anthropic/" before it */
    struct str system;     /* empty: none */
    struct str input;      /* raw JSON: a string, {"prompt"} or {"messages"} */
    struct str definition; /* canonical JSON: its llmSettings.perModel["anthropic/<model>"] is what is set */
};

/* The name without its provider. */
struct str anthropic_model(struct str model);
/* Writes the body. False: it can't be made; ret_why (≥ 300 bytes) says what is wrong and what to do. */
MUST_CHECK bool anthropic_request(const struct anthropic_job *job, struct strbuf *out, struct strbuf *ret_why);

#endif
