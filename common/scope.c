#include "common/scope.h"

static const struct {
    const char *word;
    bool beyond;
} scopes[] = {
#define SCOPE_ROW(name, word, beyond, what) {word, beyond},
    SCOPE_TABLE(SCOPE_ROW)
#undef SCOPE_ROW
};

const char *scope_word(enum scope scope)
{
    return scope < SCOPE_COUNT ? scopes[scope].word : "";
}

enum scope scope_of(struct str word)
{
    unsigned i = 0;
    while (i < SCOPE_COUNT && !str_eqz(word, scopes[i].word))
        i++;
    return (enum scope)i;
}

bool scope_reaches_beyond(enum scope scope)
{
    return scope < SCOPE_COUNT && scopes[scope].beyond;
}

uint64_t scopes_of(struct str words)
{
    uint64_t set = 0;
    struct str word;
    while (str_next_word(&words, &word)) {
        enum scope scope = scope_of(word);
        if (scope < SCOPE_COUNT)
            set |= SCOPE_BIT(scope);
    }
    return set;
}
