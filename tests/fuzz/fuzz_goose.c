/* The protocol `goose`. Byte 0: where the cuts are. */
#include "tool_lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1)
        tool_lines_check("goose", (struct str){(const char *)data + 1, size - 1}, data[0] % 29u + 1);
    return 0;
}
