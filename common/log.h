/* Structured logs to standard error, one line each, JSON or logfmt, with ids as fields. Lines are bounded (8 KiB), control characters escaped, and written with one write(2).
 * Usage: LOG_WARN("run fenced", LOG_S("runId", id), LOG_I("attempt", n)); — the message is a constant, what varies is a field. Never log a secret. */
#ifndef ERRAND_COMMON_LOG_H
#define ERRAND_COMMON_LOG_H

#include "common/base.h"
#include "common/err.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_LOGFMT };

struct log_field {
    const char *key;
    bool is_int;
    int64_t i;
    struct str s;
};

#define LOG_S(k, v) ((struct log_field){.key = (k), .s = (v)})
#define LOG_Z(k, v) ((struct log_field){.key = (k), .s = str_of(v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .is_int = true, .i = (int64_t)(v)})
#define LOG_E(e)    ((struct log_field){.key = "error", .s = str_of(err_code(e))})

/* component: static, e.g. "api". node: copied; in every line. */
void log_setup(enum log_level level, enum log_format format, const char *component, struct str node);
bool log_level_parse(struct str s, enum log_level *ret_level);
bool log_on(enum log_level level);
void log_write(enum log_level level, const char *msg, const struct log_field *fields, size_t n);

#define LOG_AT(level, msg, ...)                                                                                        \
    do {                                                                                                               \
        if (log_on(level)) {                                                                                           \
            const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};                                               \
            log_write(level, msg, log_fields_ + 1, ARRAY_LEN(log_fields_) - 1);                                        \
        }                                                                                                              \
    } while (0)
#define LOG_DEBUG(msg, ...) LOG_AT(LOG_LEVEL_DEBUG, msg, ##__VA_ARGS__)
#define LOG_INFO(msg, ...)  LOG_AT(LOG_LEVEL_INFO, msg, ##__VA_ARGS__)
#define LOG_WARN(msg, ...)  LOG_AT(LOG_LEVEL_WARN, msg, ##__VA_ARGS__)
#define LOG_ERROR(msg, ...) LOG_AT(LOG_LEVEL_ERROR, msg, ##__VA_ARGS__)

#endif
