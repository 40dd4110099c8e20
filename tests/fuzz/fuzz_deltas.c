/* Deltas of an agent: the quick way gives what the plain one gives, wherever secrets and what looks like one are cut. The input is a recipe (tests/unit/delta_rig.h). */
#include "../unit/delta_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= 4096)
        POST(delta_both_ways(data, size) >= 0);
    return 0;
}
