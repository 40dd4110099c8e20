/* Schemas and values: whatever is compiled can be asked of whatever value, in bounded time, and says the same each time; what does not meet it has a fault whose pointer is one. A schema, a newline, a value. */
#include <stdlib.h>

#include "common/json.h"
#include "common/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fault(const struct schema_fault *f)
{
    size_t len = strlen(f->pointer);
    POST(len <= SCHEMA_POINTER_MAX && (len == 0 || f->pointer[0] == '/'));
    POST(f->message[0] != 0 && strlen(f->message) < SCHEMA_TEXT_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct schema_faults first, again;
    const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t at = newline ? (size_t)(newline - data) : size;
    struct str text = {(const char *)data, at}, value = {(const char *)data + at, size - at};
    struct schema *s = NULL;
    struct schema_fault refused;
    enum err err = schema_compile(text, &s, &refused);
    if (err) {
        POST(err == ERR_INVALID_FIELD || err == ERR_NO_MEMORY);
        if (err == ERR_INVALID_FIELD)
            check_fault(&refused);
        return 0;
    }
    bool ok = schema_check(s, value, &first);
    POST(ok || first.n > 0);
    for (size_t i = 0; !ok && i < first.n; i++)
        check_fault(&first.list[i]);
    if (ok)
        POST(schema_check(s, value, &again));
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    if (!ok)
        schema_faults_write(&first, &out);
    POST(ok || json_valid(strbuf_str(&out), 3));
    strbuf_done(&out);
    schema_unref(s);
    return 0;
}
