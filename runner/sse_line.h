/* Frames of Server-Sent Events → lines of the protocol `events`. Pure. */
#ifndef ERRAND_RUNNER_SSE_LINE_H
#define ERRAND_RUNNER_SSE_LINE_H

#include "common/sse.h"

/* Appends the frame as a line with its newline: its data where that is an object, in one line, under its event's name as the kind where it says none itself. Other data goes as it is (several lines, perhaps), which
 * the adapter shows as such; or, where the event has a name, as a notification that has the name, too. At most eight times as long as the data, and 256 bytes. */
void sse_line(const struct sse_frame *frame, struct strbuf *out);

#endif
