#include "common/data_source.h"

static size_t add(char *buf, size_t at, struct str s)
{
    PRE(at + s.len < DATA_SOURCE_VARIABLE_MAX);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        buf[at++] = (char)((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ? c : '_');
    }
    return at;
}

struct str data_source_variable(struct str engine, struct str name, struct str field,
                                char buf[DATA_SOURCE_VARIABLE_MAX])
{
    size_t len = add(buf, 0, STR("DS_"));
    len = add(buf, len, engine);
    len = add(buf, len, STR("_"));
    len = add(buf, len, name);
    len = add(buf, len, STR("__"));
    len = add(buf, len, field);
    buf[len] = 0;
    return (struct str){buf, len};
}
