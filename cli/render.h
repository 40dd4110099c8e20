/* A run's events for people. */
#ifndef ERRAND_CLI_RENDER_H
#define ERRAND_CLI_RENDER_H

#include "cli/cli.h"
#include "common/json.h"

struct render {
    const struct cli *cli;
    bool terminal;  /* standard output is one */
    bool mid_line;  /* text was written whose line has not ended */
    bool text_seen; /* some assistant_text was printed */
};

/* Writes one event to standard output. */
void render_event(struct render *r, struct str kind, const struct json *data);
/* Ends a line that text left open. */
void render_break(struct render *r);

#endif
