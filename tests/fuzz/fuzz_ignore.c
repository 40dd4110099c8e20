/* .errandignore: what comes before the first NUL is the file, each line behind it a path. What is refused says where; a path is left out by what is taken, or it isn't, and soon; `!` in front of the last pattern that decides turns it
 * round. */
#include <stdlib.h>

#include "cli/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = {(const char *)data, size};
    const char *nul = size ? memchr(data, 0, size) : NULL;
    struct str text = {all.ptr, nul ? (size_t)(nul - all.ptr) : size};
    struct arena arena;
    struct ignore g;
    const char *why = NULL;
    arena_init(&arena, 8 << 20);
    if (ignore_parse(&arena, text, &g, &why) != ERR_OK) {
        POST(why && strncmp(why, "line ", 5) == 0);
        arena_done(&arena);
        return 0;
    }
    POST(g.count <= IGNORE_RULES);
    for (size_t at = text.len + 1; nul && at < size;) {
        const char *end = memchr(all.ptr + at, '\n', size - at);
        struct str path = {all.ptr + at, end ? (size_t)(end - all.ptr) - at : size - at};
        at += path.len + 1;
        for (int folder = 0; folder < 2; folder++) {
            bool out = ignore_matches(&g, path, folder);
            if (g.count == 0)
                continue;
            /* A file that only folders' patterns match is not left out. */
            struct ignore last = {&g.rules[g.count - 1], 1};
            bool negated = last.rules->negated;
            last.rules->negated = false;
            bool hit = ignore_matches(&last, path, folder);
            POST(!hit || folder || !last.rules->folders_only);
            last.rules->negated = negated;
            POST(!hit || out == !negated);
        }
    }
    arena_done(&arena);
    return 0;
}
