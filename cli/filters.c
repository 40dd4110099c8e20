#include "cli/filters.h"

#include "cli/client.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/limits.h"

void filters_options(struct filters *f, struct option rows[FILTER_OPTIONS])
{
    const struct option table[FILTER_OPTIONS] = {
        {.name = "agent",
         .letter = 'a',
         .type = OPTION_STRING,
         .target = &f->agent,
         .value = "NAME",
         .help = "only this agent's"},
        {.name = "status",
         .letter = 's',
         .type = OPTION_LIST,
         .target = &f->statuses,
         .value = "STATUS",
         .help = "only with this status; may be repeated"},
        {.name = "label",
         .letter = 'l',
         .type = OPTION_LIST,
         .target = &f->labels,
         .value = "NAME=VALUE",
         .help = "only with this label; may be repeated"},
        {.name = "queue",
         .letter = 'q',
         .type = OPTION_STRING,
         .target = &f->queue,
         .value = "QUEUE",
         .help = "only of this queue"},
        {.name = "schedule",
         .type = OPTION_STRING,
         .target = &f->schedule,
         .value = "NAME",
         .help = "only those that this schedule made"},
        {.name = "dead-letter",
         .type = OPTION_FLAG,
         .target = &f->dead,
         .help = "only those that ended in error and were not redriven"},
        {.name = "mine", .type = OPTION_FLAG, .target = &f->mine, .help = "only those submitted with the key in use"},
        {.name = "since",
         .type = OPTION_STRING,
         .target = &f->since,
         .value = "TIME",
         .help = "created at or after: a time, or how long ago (24h)"},
        {.name = "until", .type = OPTION_STRING, .target = &f->until, .value = "TIME", .help = "created before"},
    };
    memcpy(rows, table, sizeof table);
}

bool filters_empty(const struct filters *f)
{
    return !f->agent && !f->queue && !f->schedule && !f->since && !f->until && f->statuses.count == 0 &&
           f->labels.count == 0 && !f->mine && !f->dead;
}

bool filters_time(const struct command *command, const char *name, const char *given, char ret_iso[CLOCK_ISO_LEN + 1])
{
    int64_t ms;
    if (duration_parse(given, &ms)) {
        ms = clock_wall_ms() - ms;
    } else if (!clock_parse_iso(str_of(given), &ms)) {
        (void)cli_usage_error(command, "--%s takes a time like 2026-01-31T12:00:00Z, or how long ago: 90s, 24h, 7d",
                              name);
        return false;
    }
    clock_iso(ms, ret_iso);
    return true;
}

/* On the command line a label is written as where it is set: NAME=VALUE. */
static bool read_label(const struct command *command, const char *given, struct str *ret_key, struct str *ret_value)
{
    const char *equals = strchr(given, '=');
    if (!equals) {
        (void)cli_usage_error(command, "--label takes NAME=VALUE, not '%s'", given);
        return false;
    }
    *ret_key = (struct str){given, (size_t)(equals - given)};
    *ret_value = str_of(equals + 1);
    return true;
}

static void add_parameter(struct strbuf *out, const char *name, struct str value)
{
    strbuf_addf(out, "&%s=", name);
    url_encode(out, value);
}

static bool query_time(struct strbuf *out, const struct command *command, const char *name, const char *given)
{
    char iso[CLOCK_ISO_LEN + 1];
    if (!given)
        return true;
    if (!filters_time(command, name, given, iso))
        return false;
    add_parameter(out, name, str_of(iso));
    return true;
}

bool filters_query(struct strbuf *out, const struct command *command, const struct filters *f)
{
    if (f->agent)
        add_parameter(out, "agent", str_of(f->agent));
    for (size_t i = 0; i < f->statuses.count; i++)
        add_parameter(out, "status", str_of(f->statuses.values[i]));
    for (size_t i = 0; i < f->labels.count; i++) {
        struct str key, value;
        if (!read_label(command, f->labels.values[i], &key, &value))
            return false;
        add_parameter(out, "label", key);
        strbuf_addz(out, ":");
        url_encode(out, value);
    }
    if (f->queue)
        add_parameter(out, "queue", str_of(f->queue));
    if (f->schedule)
        add_parameter(out, "schedule", str_of(f->schedule));
    if (f->dead)
        add_parameter(out, "deadLetter", STR("true"));
    if (f->mine)
        add_parameter(out, "createdBy", STR("me"));
    return query_time(out, command, "since", f->since) && query_time(out, command, "until", f->until);
}

static bool json_time_member(struct json_writer *w, const struct command *command, const char *name, const char *given)
{
    char iso[CLOCK_ISO_LEN + 1];
    if (!given)
        return true;
    if (!filters_time(command, name, given, iso))
        return false;
    json_kv_str(w, name, str_of(iso));
    return true;
}

static bool json_labels(struct json_writer *w, const struct command *command, const struct option_list *labels)
{
    if (labels->count == 0)
        return true;
    json_key(w, "labels");
    json_object_begin(w);
    for (size_t i = 0; i < labels->count; i++) {
        struct str key, value;
        if (!read_label(command, labels->values[i], &key, &value))
            return false;
        json_key_str(w, key);
        json_str(w, value);
    }
    json_object_end(w);
    return true;
}

bool filters_json(struct strbuf *out, const struct command *command, const struct filters *f)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (f->agent)
        json_kv_str(&w, "agent", str_of(f->agent));
    if (f->statuses.count > 0) {
        json_key(&w, "status");
        json_array_begin(&w);
        for (size_t i = 0; i < f->statuses.count; i++)
            json_str(&w, str_of(f->statuses.values[i]));
        json_array_end(&w);
    }
    if (f->queue)
        json_kv_str(&w, "queue", str_of(f->queue));
    if (f->schedule)
        json_kv_str(&w, "schedule", str_of(f->schedule));
    if (f->dead)
        json_kv_bool(&w, "deadLetter", true);
    if (f->mine)
        json_kv_str(&w, "createdBy", STR("me"));
    if (!json_labels(&w, command, &f->labels) || !json_time_member(&w, command, "since", f->since) ||
        !json_time_member(&w, command, "until", f->until))
        return false;
    json_object_end(&w);
    return true;
}
