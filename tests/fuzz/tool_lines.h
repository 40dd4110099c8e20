/* What the fuzz targets of the tools' protocols (goose, claude) share. */
#ifndef ERRAND_TESTS_FUZZ_TOOL_LINES_H
#define ERRAND_TESTS_FUZZ_TOOL_LINES_H

#include "common/strbuf.h"

/* Feeds the bytes whole, in small cuts, and line by line: each event is a JSON object within its bound, the same events whatever the cuts, and each line that is not empty gives at least one: nothing is dropped. */
void tool_lines_check(const char *protocol, struct str bytes, size_t step);
/* All texts of assistant_text that the bytes give, one behind the other. */
void tool_lines_text(const char *protocol, struct str bytes, struct strbuf *out);

#endif
