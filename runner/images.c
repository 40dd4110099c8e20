#include "runner/images.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* The parts between slashes: none empty, none a way up, each begins with a letter or digit. */
static bool name_valid(struct str s)
{
    bool first = true;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (first && !is_alnum(c))
            return false;
        if (!is_alnum(c) && !strchr("._-:/", c))
            return false;
        if (c == '.' && i + 1 < s.len && s.ptr[i + 1] == '.')
            return false;
        first = c == '/';
    }
    return s.len > 0 && !first;
}

bool image_valid(struct str image)
{
    const char *at = image.len > 0 && image.len <= IMAGE_MAX ? memchr(image.ptr, '@', image.len) : NULL;
    struct str name = {image.ptr, at ? (size_t)(at - image.ptr) : image.len};
    if (image.len > IMAGE_MAX || !name_valid(name) || name.ptr[name.len - 1] == ':')
        return false;
    if (!at)
        return true;
    struct str digest = {at + 1, image.len - name.len - 1};
    bool ok = digest.len == 71 && str_starts(digest, STR("sha256:"));
    for (size_t i = 7; ok && i < digest.len; i++)
        ok = hex_value(digest.ptr[i]) >= 0 && !(digest.ptr[i] >= 'A' && digest.ptr[i] <= 'F');
    return ok;
}

static bool is_prefix(struct str pattern)
{
    return pattern.len > 2 && pattern.ptr[pattern.len - 1] == '*' && pattern.ptr[pattern.len - 2] == '/';
}

bool images_allow(struct str list, struct str image)
{
    struct str pattern;
    bool found = false;
    if (!image_valid(image))
        return false;
    while (!found && str_next_word(&list, &pattern))
        found =
            is_prefix(pattern) ? str_starts(image, (struct str){pattern.ptr, pattern.len - 1}) : str_eq(image, pattern);
    return found;
}

bool images_list_valid(struct str list, struct str *ret_bad)
{
    struct str pattern;
    while (str_next_word(&list, &pattern)) {
        struct str name = is_prefix(pattern) ? (struct str){pattern.ptr, pattern.len - 2} : pattern;
        if (image_valid(name))
            continue;
        *ret_bad = pattern;
        return false;
    }
    return true;
}
