#include "api/hook_body_out.h"

#include <stdlib.h>

#include "api/record.h"
#include "common/event.h"

struct str hook_event_line(struct str lines, int64_t seq)
{
    while (lines.len > 0) {
        const char *newline = memchr(lines.ptr, '\n', lines.len);
        struct str line = {lines.ptr, newline ? (size_t)(newline - lines.ptr) : lines.len};
        size_t skip = line.len + (newline ? 1 : 0);
        lines.ptr += skip;
        lines.len -= skip;
        struct event_head h;
        if (line.len > 0 && event_peek(line, &h) == ERR_OK && h.seq == seq)
            return line;
    }
    return STR_NONE;
}

/* Of a run that is not there any more: what the delivery itself knows. */
static void write_removed(struct json_writer *w, const struct script_hook_take_deliveries *d)
{
    json_object_begin(w);
    json_kv_str(w, "runId", d->run);
    json_kv_str(w, "workspaceId", d->ws);
    json_kv_str_opt(w, "agent", d->agent);
    if (str_starts(d->type, STR("run.")))
        json_kv_str(w, "status", (struct str){d->type.ptr + 4, d->type.len - 4});
    json_kv_bool(w, "removed", true);
    json_object_end(w);
}

void hook_body_write(struct strbuf *out, const struct script_hook_take_deliveries *d)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_kv_str(&w, "type", d->type);
    json_kv_time(&w, "timestamp", d->created);
    json_key(&w, "data");
    if (d->run.len == 0) {
        json_object_begin(&w);
        json_kv_str(&w, "webhookId", d->hook);
        json_object_end(&w);
    } else if (d->record->elements == 0) {
        write_removed(&w, d);
    } else {
        struct record r = {
            .run_id = d->run, .flat = d->record, .last_seq = d->last, .event_count = d->count, .event_bytes = d->bytes};
        record_write_hook(&w, &r, hook_event_line(d->event, d->seq));
    }
    json_object_end(&w);
}
