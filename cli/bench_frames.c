#include "cli/bench_frames.h"

int64_t bench_digits(struct str text)
{
    int64_t n = 0;
    size_t i = 0;
    while (i < text.len && text.ptr[i] == ' ')
        i++;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9' && n < INT64_MAX / 16; i++)
        n = n * 10 + (text.ptr[i] - '0');
    return n;
}

static int64_t end_frame(struct frames *f)
{
    int64_t seq = f->seq;
    f->seq = -1;
    f->gap = false;
    if (seq < 0)
        return 0;
    if (seq <= f->last_seq) {
        f->repeated++;
        return 1;
    }
    f->missing += seq - f->last_seq - 1;
    f->last_seq = seq;
    f->events++;
    return 1;
}

/* {"from": n, "to": m}: what is said to be missing is no further gap. */
static void take_gap(struct frames *f, struct str data)
{
    const char *to = memmem(data.ptr, data.len, "\"to\":", 5);
    int64_t last = to ? bench_digits((struct str){to + 5, (size_t)(data.ptr + data.len - to - 5)}) : 0;
    f->missing += last > f->last_seq ? last - f->last_seq : 1;
    if (last > f->last_seq)
        f->last_seq = last;
}

static void take_data(struct frames *f, struct str line, int64_t every, int64_t now_ms)
{
    if (f->gap)
        take_gap(f, line);
    if (every <= 0 || f->seq < 0 || f->seq % every != 0)
        return;
    const char *t = memmem(line.ptr, line.len < 80 ? line.len : 80, "\"tMs\":", 6);
    if (t)
        f->delay_ms = now_ms - bench_digits((struct str){t + 6, (size_t)(line.ptr + line.len - t - 6)});
}

/* The beginning of a line, or all of it. Returns the events that it completes. */
static int64_t take_line(struct frames *f, struct str line, int64_t every, int64_t now_ms)
{
    if (line.len == 0)
        return end_frame(f);
    switch (line.ptr[0]) {
    case 'i':
        if (str_starts(line, STR("id: ")))
            f->seq = bench_digits((struct str){line.ptr + 4, line.len - 4});
        break;
    case 'e':
        f->done = f->done || str_eqz(line, "event: done");
        f->gap = str_eqz(line, "event: gap");
        break;
    case 'd':
        take_data(f, line, every, now_ms);
        break;
    default:
        break;
    }
    return 0;
}

/* Bytes behind a line's beginning that was kept. Returns how many were taken. */
static size_t take_rest(struct frames *f, struct str bytes, int64_t every, int64_t now_ms, int64_t *events)
{
    const char *end = memchr(bytes.ptr, '\n', bytes.len);
    size_t room = sizeof f->begin - f->begin_len, len = end ? (size_t)(end - bytes.ptr) : bytes.len;
    size_t take = len < room ? len : room;
    memcpy(f->begin + f->begin_len, bytes.ptr, take);
    f->begin_len = (uint8_t)(f->begin_len + take);
    if (!end && take == len && f->begin_len < sizeof f->begin)
        return take;
    *events += take_line(f, (struct str){f->begin, f->begin_len}, every, now_ms);
    f->begin_len = 0;
    f->inside = !end;
    return end ? len + 1 : take;
}

int64_t frames_feed(struct frames *f, struct str bytes, int64_t every, int64_t now_ms)
{
    int64_t events = 0;
    while (bytes.len > 0) {
        size_t took = bytes.len;
        if (f->begin_len > 0) {
            took = take_rest(f, bytes, every, now_ms, &events);
        } else {
            const char *end = memchr(bytes.ptr, '\n', bytes.len);
            if (!end && !f->inside)
                took = take_rest(f, bytes, every, now_ms, &events);
            if (end) {
                took = (size_t)(end - bytes.ptr) + 1;
                size_t len =
                    took - 1 < sizeof f->begin ? took - 1 : sizeof f->begin; /* as of one that comes in pieces */
                if (!f->inside)
                    events += take_line(f, (struct str){bytes.ptr, len}, every, now_ms);
                f->inside = false;
            }
        }
        bytes.ptr += took;
        bytes.len -= took;
    }
    return events;
}

void frames_resume(struct frames *f)
{
    f->inside = f->gap = false;
    f->begin_len = 0;
    f->seq = -1;
}
