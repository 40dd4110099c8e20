/* The run record and its summary as JSON, from what the scripts show. Contract: runs.md, "Run record". */
#ifndef ERRAND_API_RECORD_H
#define ERRAND_API_RECORD_H

#include <hiredis/hiredis.h>

#include "common/json.h"

struct record {
    struct str run_id;
    const redisReply *flat; /* the run hash */
    int64_t last_seq, event_count, event_bytes;
};
enum record_form {
    RECORD_WHOLE,
    RECORD_NO_INPUT, /* what `done` carries */
    RECORD_SUMMARY,  /* without input, result, attempts, schemaWarnings */
};

void record_write(struct json_writer *w, const struct record *r, enum record_form form);
/* The summary with its `depth` in a tree. */
void record_write_node(struct json_writer *w, const struct record *r, int64_t depth);
/* The summary with the result, where it is there, and the event that a webhook is told of, where there is one (a raw line). */
void record_write_hook(struct json_writer *w, const struct record *r, struct str event);
/* success, error or stopped. */
bool record_ended(const redisReply *flat);
struct str record_field(const redisReply *flat, const char *name);

#endif
