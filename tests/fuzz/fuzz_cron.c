/* Cron expressions: what is taken ticks, at whole seconds, ever later, and never more than about 40 years apart; what is refused says why. */
#include <stdlib.h>

#include "common/schedule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const zones[] = {"UTC", "Europe/London", "Australia/Lord_Howe", "Pacific/Apia"};
    const int64_t begin = INT64_C(1316000000000),
                  rest = INT64_C(15001) * 86400000; /* 2011: Apia's missing day is near */
    struct schedule_spec spec = {.cron = {(const char *)data, size}};
    struct schedule s;
    char why[CRON_WHY_MAX + 64] = "";
    if (size == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        spec.zone = str_of(zones[i]);
        if (schedule_init(&s, &spec, why)) {
            int64_t at = begin;
            for (int n = 0; n < 20; n++) {
                int64_t next = schedule_next(&s, at);
                POST(next > at && next - at <= rest && next % 1000 == 0);
                at = next;
            }
        } else {
            POST(why[0] != 0);
        }
        schedule_done(&s);
    }
    return 0;
}
