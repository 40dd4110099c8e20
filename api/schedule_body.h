/* The body of a schedule → a typed struct. Everything borrows from the request's arena. A refusal names the field and what to do. */
#ifndef ERRAND_API_SCHEDULE_BODY_H
#define ERRAND_API_SCHEDULE_BODY_H

#include "api/validate.h"
#include "common/schedule.h"

struct schedule_body {
    struct str name;
    struct schedule_spec spec; /* its anchor is not known yet */
    int64_t jitter_ms;
    struct str overlap, catch_up;
    int paused; /* 1, 0, or -1: not said */
    struct str run_json;
    struct submission run;
};

/* root: the parsed body; name: what the path calls it ("": the body must say). False and *ret_fault when it is refused. */
MUST_CHECK bool schedule_body_read(struct arena *a, const struct json *root, struct str name,
                                   struct schedule_body *ret_body, struct fault *ret_fault);

#endif
