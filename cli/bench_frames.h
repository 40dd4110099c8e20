/* Counts the events of a stream in passing: their ids are compared with the one before, their data is not looked at. Pure; what it keeps of a reader is this struct. */
#ifndef ERRAND_CLI_BENCH_FRAMES_H
#define ERRAND_CLI_BENCH_FRAMES_H

#include "common/base.h"

struct frames {
    int64_t last_seq; /* of the last whole event; begin with what the stream begins behind, 0 */
    int64_t events;
    int64_t missing;   /* numbers that were passed over, or that a `gap` announced */
    int64_t repeated;  /* events at or below last_seq */
    int64_t delay_ms;  /* of the last sampled event: its time here less its tMs; -1: none yet */
    bool done;         /* the stream's own end came */
    bool inside;       /* in a line whose beginning was looked at */
    bool gap;          /* the frame is one */
    uint8_t begin_len; /* of a line that is not whole: */
    char begin[96];
    int64_t seq; /* of the frame that is being read; -1: it has none */
};

/* Takes bytes of the stream as they come. every: one in so many events tells its delay (0: none), for which now_ms is the wall time. Returns how many events were completed. */
int64_t frames_feed(struct frames *f, struct str bytes, int64_t every, int64_t now_ms);
/* The number that text begins with, after blanks; 0 for none, a large one for one that is too long. Reads no further than the text. */
int64_t bench_digits(struct str text);
/* A new connection: forgets a frame that is not whole, and goes on behind last_seq. */
void frames_resume(struct frames *f);

#endif
