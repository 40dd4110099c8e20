// Time zones over cctz: as a list of spans with one offset each, which is all that schedules need.
#include "common/zone.h"

#include <cctz/civil_time.h>
#include <cctz/time_zone.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

struct zone {
    cctz::time_zone tz;
};

namespace
{

using seconds_point = cctz::time_point<cctz::seconds>;

seconds_point point(int64_t time)
{
    return seconds_point(cctz::seconds(time));
}

int64_t moment(const cctz::time_zone &tz, const cctz::time_zone::civil_transition &t)
{
    return tz.lookup(t.to).trans.time_since_epoch().count();
}

// Segments of letters, digits, '_', '+', '-' that begin with a capital letter: no path leads out of the database, and its files that are no zones of IANA's (localtime, posix/…, right/…) have no such name.
bool is_name(struct str name)
{
    if (name.len == 0 || name.len > ZONE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool first = i == 0 || name.ptr[i - 1] == '/';
        bool capital = c >= 'A' && c <= 'Z';
        bool other = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-' || c == '/';
        if (!capital && (first || !other))
            return false;
    }
    return name.ptr[name.len - 1] != '/';
}

// cctz remembers each name it was ever asked for, so only those that have a file get there.
bool has_file(const char *name)
{
    const char *folder = std::getenv("TZDIR");
    std::string path = std::string(folder && *folder ? folder : "/usr/share/zoneinfo") + "/" + name;
    struct stat st;
    return stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

} // namespace

struct zone *zone_new(struct str name)
{
    char text[ZONE_NAME_MAX + 1];
    if (!is_name(name))
        return nullptr;
    std::memcpy(text, name.ptr, name.len);
    text[name.len] = 0;
    cctz::time_zone tz = cctz::utc_time_zone();
    bool utc = std::strcmp(text, "UTC") == 0; // without tzdata too
    if (!utc && (!has_file(text) || !cctz::load_time_zone(text, &tz)))
        return nullptr;
    return new (std::nothrow) zone{tz};
}

void zone_free(struct zone *z)
{
    delete z;
}

struct zone_span zone_span_at(const struct zone *z, int64_t time)
{
    cctz::time_zone::civil_transition t;
    struct zone_span s = {INT64_MIN, INT64_MAX, z->tz.lookup(point(time)).offset, 0};
    s.before = s.offset;
    if (z->tz.prev_transition(point(time + 1), &t)) {
        s.begin = moment(z->tz, t);
        s.before = s.offset + (t.from - t.to);
    }
    if (z->tz.next_transition(point(time), &t))
        s.end = moment(z->tz, t);
    return s;
}
