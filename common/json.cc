// JSON in. One pass of simdjson's DOM validates the whole text (grammar, UTF-8, surrogates, number range); what is then known to be valid is copied without insignificant white space, and a linear scanner
// over that copy counts its depth and builds the tree, whose raw slices point into it. Nothing of a text that is refused is ever shown.
#include <simdjson.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "common/json.h"
#include "common/limits.h"

namespace
{

constexpr size_t MAX_TEXT = 64 << 20;
constexpr size_t FEW_KEYS = 8;
constexpr const char *TOO_DEEP = "it is nested too deeply";

// One parser and one padded buffer a thread: their memory is kept for the next text unless it was large.
struct Reader {
    simdjson::dom::parser parser;
    char *padded = nullptr;
    size_t padded_size = 0;
    ~Reader() { std::free(padded); }
};
thread_local Reader reader;

const char *why(simdjson::error_code error)
{
    struct {
        simdjson::error_code error;
        const char *sentence;
    } const rows[] = {
        {simdjson::UTF8_ERROR, "it is not valid UTF-8"},
        {simdjson::DEPTH_ERROR, TOO_DEEP},
        {simdjson::NUMBER_ERROR, "it holds a number that is malformed or too large"},
        {simdjson::STRING_ERROR, "it holds a malformed string"},
        {simdjson::UNCLOSED_STRING, "a string is not closed"},
        {simdjson::UNESCAPED_CHARS, "a string holds a control character that is not escaped"},
        {simdjson::EMPTY, "it is empty"},
    };
    for (const auto &row : rows)
        if (row.error == error)
            return row.sentence;
    return "it is malformed";
}

// simdjson's DOM refuses integers beyond 64 bits, though a double holds them. Such digits get a point behind the first one, which changes nothing of what is validated; true when there was one.
bool relax_long_integers(char *text, size_t len)
{
    bool changed = false, in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c >= '0' && c <= '9') {
            size_t begin = i;
            while (i < len && text[i] >= '0' && text[i] <= '9')
                i++;
            bool whole = i >= len || (text[i] != '.' && text[i] != 'e' && text[i] != 'E');
            // DBL_MAX has 309 digits: of that many it depends on the value (the padding behind the text ends it), and more are left to be refused
            size_t digits = i - begin;
            bool fits = digits <= 308 || (digits == 309 && std::isfinite(std::strtod(text + begin, nullptr)));
            if (whole && digits > 18 && text[begin] != '0' && fits) {
                text[begin + 1] = '.';
                changed = true;
            } else if (!whole) {
                while (i < len && (text[i] == '.' || text[i] == '+' || text[i] == '-' || (text[i] | 32) == 'e' ||
                                   (text[i] >= '0' && text[i] <= '9')))
                    i++;
            }
            i--;
        }
    }
    return changed;
}

// Behind the opening quote of a valid string, with at least 16 readable bytes behind its end: its closing quote.
const char *string_end(const char *p, bool *ret_escaped)
{
    *ret_escaped = false;
    for (;;) {
#ifdef __SSE2__
        __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
        int found = _mm_movemask_epi8(
            _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
        if (!found) {
            p += 16;
            continue;
        }
        p += __builtin_ctz(static_cast<unsigned>(found));
#else
        while (*p != '"' && *p != '\\')
            p++;
#endif
        if (*p == '"')
            return p;
        *ret_escaped = true;
        p += 2;
    }
}

enum err validate(struct str text, const char **ret_why)
{
    *ret_why = "it is malformed";
    if (text.len == 0) {
        *ret_why = "it is empty";
        return ERR_INVALID_JSON;
    }
    if (text.len > MAX_TEXT) {
        *ret_why = "it is too long";
        return ERR_INVALID_JSON;
    }
    if (text.len >= 3 && std::memcmp(text.ptr, "\xef\xbb\xbf", 3) == 0) {
        *ret_why = "it begins with a byte order mark";
        return ERR_INVALID_JSON;
    }
    size_t need = text.len + simdjson::SIMDJSON_PADDING;
    if (reader.padded_size < need) {
        char *p = static_cast<char *>(std::realloc(reader.padded, need));
        if (!p)
            return ERR_NO_MEMORY;
        reader.padded = p;
        reader.padded_size = need;
    }
    std::memcpy(reader.padded, text.ptr, text.len);
    std::memset(reader.padded + text.len, 0, simdjson::SIMDJSON_PADDING);
    simdjson::dom::element root;
    simdjson::error_code error = reader.parser.parse(reader.padded, text.len, false).get(root);
    if (error == simdjson::NUMBER_ERROR && relax_long_integers(reader.padded, text.len))
        error = reader.parser.parse(reader.padded, text.len, false).get(root);
    if (text.len > (1 << 20)) { // a large text's memory is not kept
        std::free(reader.padded);
        reader.padded = nullptr;
        reader.padded_size = 0;
        reader.parser = simdjson::dom::parser();
    }
    if (error == simdjson::MEMALLOC)
        return ERR_NO_MEMORY;
    if (error) {
        *ret_why = why(error);
        return ERR_INVALID_JSON;
    }
    return ERR_OK;
}

// Walks valid text without white space, behind which there are 16 bytes more: no check for malformed input is needed, only for depth and memory.
struct Scanner {
    struct arena *arena;
    const char *in, *end;
    int max_depth, max_expand;
    bool deep; // deeper than max_depth

    // Passes over a string, quotes included.
    struct str take_string(bool *ret_escaped)
    {
        const char *begin = in;
        in = string_end(in + 1, ret_escaped) + 1;
        return {begin, static_cast<size_t>(in - begin)};
    }

    struct str take_scalar()
    {
        const char *begin = in;
        while (in < end && *in != ',' && *in != ']' && *in != '}')
            in++;
        return {begin, static_cast<size_t>(in - begin)};
    }

    static unsigned hex4(const char *p)
    {
        unsigned v = 0;
        for (int i = 0; i < 4; i++)
            v = v * 16 + static_cast<unsigned>(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
        return v;
    }

    static char *put_utf8(char *o, unsigned c)
    {
        if (c < 0x80) {
            *o++ = static_cast<char>(c);
        } else if (c < 0x800) {
            *o++ = static_cast<char>(0xc0 | (c >> 6));
            *o++ = static_cast<char>(0x80 | (c & 63));
        } else if (c < 0x10000) {
            *o++ = static_cast<char>(0xe0 | (c >> 12));
            *o++ = static_cast<char>(0x80 | ((c >> 6) & 63));
            *o++ = static_cast<char>(0x80 | (c & 63));
        } else {
            *o++ = static_cast<char>(0xf0 | (c >> 18));
            *o++ = static_cast<char>(0x80 | ((c >> 12) & 63));
            *o++ = static_cast<char>(0x80 | ((c >> 6) & 63));
            *o++ = static_cast<char>(0x80 | (c & 63));
        }
        return o;
    }

    // The text of a raw string token, in the arena.
    bool decode(struct str raw, bool escaped, struct str *ret)
    {
        const char *p = raw.ptr + 1, *stop = raw.ptr + raw.len - 1;
        if (!escaped) {
            *ret = arena_str(arena, {p, static_cast<size_t>(stop - p)});
            return ret->ptr != nullptr;
        }
        char *text = static_cast<char *>(arena_alloc(arena, raw.len)), *o = text;
        if (!text)
            return false;
        while (p < stop) {
            if (*p != '\\') {
                *o++ = *p++;
                continue;
            }
            char c = p[1];
            p += 2;
            if (c != 'u') {
                *o++ = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
                continue;
            }
            unsigned u = hex4(p);
            p += 4;
            if (u >= 0xd800 && u < 0xdc00) { // the other half follows: that was validated
                u = 0x10000 + ((u - 0xd800) << 10) + (hex4(p + 2) - 0xdc00);
                p += 6;
            }
            o = put_utf8(o, u);
        }
        *o = 0;
        *ret = {text, static_cast<size_t>(o - text)};
        return true;
    }

    // Digits that any double holds, mostly.
    static bool short_integer(struct json *v)
    {
        const char *p = v->raw.ptr, *stop = p + v->raw.len;
        bool minus = *p == '-';
        int64_t n = 0;
        p += minus ? 1 : 0;
        if (stop - p > 15)
            return false;
        for (; p < stop; p++) {
            if (*p < '0' || *p > '9')
                return false;
            n = n * 10 + (*p - '0');
        }
        if (minus && n == 0) // which is a number of its own
            return false;
        v->type = JSON_INT;
        v->integer = minus ? -n : n;
        v->number = static_cast<double>(v->integer);
        return true;
    }

    static void number(struct json *v)
    {
        char text[64];
        if (short_integer(v))
            return;
        v->number = 0;
        if (v->raw.len < sizeof text) {
            std::memcpy(text, v->raw.ptr, v->raw.len);
            text[v->raw.len] = 0;
            v->number = std::strtod(text, nullptr);
        } else { // more digits than a double holds: rare, so an allocation may be
            char *copy = static_cast<char *>(std::malloc(v->raw.len + 1));
            if (copy) {
                std::memcpy(copy, v->raw.ptr, v->raw.len);
                copy[v->raw.len] = 0;
                v->number = std::strtod(copy, nullptr);
                std::free(copy);
            }
        }
        constexpr double limit = 9007199254740992.0;
        bool integral = v->number >= -limit && v->number <= limit && v->number == std::floor(v->number);
        v->type = integral ? JSON_INT : JSON_DOUBLE;
        v->integer = integral ? static_cast<int64_t>(v->number) : 0;
    }

    // Passes over a value that gets no tree of its own, at that depth.
    void pass_nested(int depth)
    {
        int inside = depth - 1;
        bool escaped;
        do {
            char c = *in;
            if (c == '"') {
                take_string(&escaped);
            } else {
                if (c == '{' || c == '[')
                    deep = ++inside > max_depth || deep;
                else if (c == '}' || c == ']')
                    inside--;
                in++;
            }
        } while (inside >= depth && !deep);
    }

    bool members(struct json *v, int depth)
    {
        bool object = v->type == JSON_OBJECT, escaped;
        struct json **link = &v->child;
        in++;
        while (*in != '}' && *in != ']') {
            if (*in == ',')
                in++;
            struct json *child = static_cast<struct json *>(arena_zalloc(arena, sizeof(struct json)));
            if (!child)
                return false;
            if (object) {
                struct str raw = take_string(&escaped);
                if (!decode(raw, escaped, &child->key))
                    return false;
                in++; // the colon
            }
            if (!value(child, depth + 1))
                return false;
            *link = child;
            link = &child->next;
            v->count++;
        }
        in++;
        return !object || check_keys(v);
    }

    static bool key_less(const struct json *a, const struct json *b)
    {
        size_t n = std::min(a->key.len, b->key.len);
        int order = n ? std::memcmp(a->key.ptr, b->key.ptr, n) : 0;
        return order < 0 || (order == 0 && a->key.len < b->key.len);
    }

    // Few keys: each with each. Many: sorted, so that hostile objects cost no square.
    bool check_keys(struct json *v)
    {
        if (v->count <= FEW_KEYS) {
            for (struct json *a = v->child; a; a = a->next)
                for (struct json *b = a->next; b; b = b->next)
                    v->repeated_key = v->repeated_key || str_eq(a->key, b->key);
            return true;
        }
        const struct json **sorted = static_cast<const struct json **>(std::malloc(v->count * sizeof *sorted));
        if (!sorted)
            return false;
        size_t n = 0;
        for (struct json *a = v->child; a; a = a->next)
            sorted[n++] = a;
        std::sort(sorted, sorted + n, key_less);
        for (size_t i = 1; i < n; i++)
            v->repeated_key = v->repeated_key || str_eq(sorted[i - 1]->key, sorted[i]->key);
        std::free(sorted);
        return true;
    }

    // depth: 1 is the outermost value. Recursion is bounded by max_expand. False: no memory, or deep.
    bool value(struct json *v, int depth)
    {
        const char *begin = in;
        char c = *in;
        bool ok = true, escaped;
        if (c == '{' || c == '[') {
            v->type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
            deep = deep || depth > max_depth;
            if (deep)
                return false;
            if (depth <= max_expand)
                ok = members(v, depth);
            else
                pass_nested(depth);
        } else if (c == '"') {
            v->type = JSON_STRING;
            v->raw = take_string(&escaped);
            ok = depth > max_expand + 1 || decode(v->raw, escaped, &v->string);
        } else {
            v->raw = take_scalar();
            v->type = c == 'n' ? JSON_NULL : JSON_BOOL;
            v->boolean = c == 't';
            if (c == '-' || (c >= '0' && c <= '9'))
                number(v);
        }
        v->raw = {begin, static_cast<size_t>(in - begin)};
        return ok && !deep;
    }
};

} // namespace

enum err json_parse(struct arena *a, struct str text, int max_depth, int max_expand, struct json **ret_root,
                    const char **ret_why)
{
    const char *reason;
    enum err err = validate(text, &reason);
    if (ret_why)
        *ret_why = reason;
    if (err)
        return err;
    constexpr size_t padding = simdjson::SIMDJSON_PADDING;
    char *copy = static_cast<char *>(arena_alloc(a, text.len + padding));
    struct json *root = static_cast<struct json *>(arena_zalloc(a, sizeof(struct json)));
    size_t len = 0;
    if (!copy || !root)
        return ERR_NO_MEMORY;
    if (simdjson::minify(text.ptr, text.len, copy, len) != simdjson::SUCCESS)
        return ERR_INVALID_JSON;
    std::memset(copy + len, 0, padding);
    Scanner s{a, copy, copy + len, max_depth, max_expand, false};
    if (s.value(root, 1)) {
        *ret_root = root;
        return ERR_OK;
    }
    if (s.deep && ret_why)
        *ret_why = TOO_DEEP;
    return s.deep ? ERR_INVALID_JSON : ERR_NO_MEMORY;
}

const struct json *json_get(const struct json *o, const char *key)
{
    if (!o || o->type != JSON_OBJECT)
        return nullptr;
    for (const struct json *m = o->child; m; m = m->next)
        if (str_eqz(m->key, key))
            return m;
    return nullptr;
}

bool utf8_valid(struct str s)
{
    return s.len == 0 || simdjson::validate_utf8(s.ptr, s.len);
}

size_t json_nested_len(struct str raw)
{
    Scanner s{nullptr, raw.ptr, raw.ptr + raw.len, INT_MAX, 0, false};
    if (raw.len == 0 || (*raw.ptr != '{' && *raw.ptr != '['))
        return 0;
    s.pass_nested(1);
    return static_cast<size_t>(s.in - raw.ptr);
}

// Brackets outside of strings, of valid text.
static bool depth_within(struct str text, int max_depth)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > max_depth)
                return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

bool json_valid(struct str text, int max_depth)
{
    const char *reason;
    return validate(text, &reason) == ERR_OK && depth_within(text, max_depth);
}
