/* Which runs are meant: one filter for the list (query parameters) and for bulk actions (a body's `filter`), and what the script `list` is told of it. Pure; everything borrows from the request's arena. */
#ifndef ERRAND_API_FILTER_H
#define ERRAND_API_FILTER_H

#include "api/routes.h"
#include "api/validate.h"
#include "lua/scripts.h"

enum { FILTER_MAX = LIMIT_LABELS }; /* labels, and statuses */

/* The query parameters it reads, as a route lists them. */
#define FILTER_PARAMETERS "agent agent_id status label createdBy since until queue schedule deadLetter "

struct run_filter {
    struct str agent, created_by, queue, schedule; /* "" for all */
    struct str statuses[FILTER_MAX], labels[FILTER_MAX];
    size_t status_count, label_count;
    int64_t since_ms, until_ms; /* 0 for none */
    bool dead;                  /* dead letters only */
};

/* From the query. False when a parameter is refused (answered then). */
MUST_CHECK bool filter_from_query(struct call *c, struct run_filter *ret_filter);
/* From a body's member. False and *ret_fault when it is refused. */
MUST_CHECK bool filter_from_json(struct call *c, const struct json *o, struct run_filter *ret_filter,
                                 struct fault *ret_fault);
/* Whether it is the `cursor` of an earlier page. */
bool filter_cursor_valid(struct str s);
/* The script's arguments: the filter's; the caller adds cursor, limit and examine. They borrow from f. */
struct script_list_args filter_args(const struct call *c, const struct run_filter *f);

#endif
