/* Credentials by their shape. An anchor (a literal found by the automaton) says where one may stand; PCRE2 decides there, with patterns that are anchored, bounded and free of backtracking that grows; what a
 * match goes on with beyond that is a class of bytes (the tail) and costs no pattern. So time is linear, and a match that needs more bytes says from where on they must wait. */
#include <pthread.h>
#include <stdlib.h>

#include "common/redact_parts.h"

/* lead: what stands before the secret, shown as it is ("" for none); body: the secret's beginning, at least; its group 1, where it has one, is what is replaced.
 * EDGE: only where a word may begin; FIXED: the body is all of it. */
enum { JWT_HEAD_MAX = 4096 };
enum { EDGE = 1, FIXED = 2, NAMED = 4, JWT = 8, BASIC = 16, ENDS = 32 };
struct shape {
    enum redact_kind kind;
    const char *anchors; /* lower case, a blank between; a blank of an anchor itself is written as \t */
    const char *lead, *body;
    enum redact_tail tail;
    int flags;
};

#define B64  "[A-Za-z0-9+/=_-]"
#define WORD "[A-Za-z0-9_-]"
/* A name, perhaps with quotes, and what leads to its value. Groups: 1 the name's rest, 2 the separator, 3 the opening quote. */
#define NAME_LEAD                                                                                                      \
    "([A-Za-z0-9_.-]{1,80}+)(?:\\\\{0,7}+[\"'`])?+\\]?+[ \\t]{0,16}+(=>|:=|={1,3}+|:|>)?+[ \\t]{0,16}+((?:\\\\{0,7}+"  \
    "[\"'`])?+)"

static const struct shape shape_table[] = {
    {KIND_PRIVATE_KEY, "-----begin ----\tbegin", "",
     "-{4,5}+ ?+BEGIN [A-Z0-9 ]{0,40}?PRIVATE KEY(?: BLOCK)?+ ?+-{4,5}+", TAIL_PEM, 0},
    {KIND_PRIVATE_KEY, "-----end ----\tend", "", "-{4,5}+ ?+END [A-Z0-9 ]{0,40}?PRIVATE KEY(?: BLOCK)?+ ?+-{4,5}+",
     TAIL_PEM_END, ENDS},
    {KIND_PRIVATE_KEY, "ls0tls1crudjtib", "", "LS0tLS1CRUdJTiB(?:QUklW|SU0Eg|FQyBQ|PUEVO|FTkNS|EU0Eg)", TAIL_TOKEN,
     EDGE},
    {KIND_PRIVATE_KEY, "age-secret-key-", "", "AGE-SECRET-KEY-[A-Za-z0-9]{16}", TAIL_WORD, EDGE},
    {KIND_GITHUB, "ghp_ gho_ ghu_ ghs_ ghr_", "", "gh[pousr]_[A-Za-z0-9]{20}", TAIL_WORD, EDGE},
    {KIND_GITHUB, "github_pat_", "", "github_pat_[A-Za-z0-9_]{20}", TAIL_WORD, EDGE},
    {KIND_GITLAB, "glpat- gldt- glrt- glrtr- glcbt- glptt- glft- glsoat- glimt- glagent- glwt- glffct- gloas-", "",
     "gl[a-z]{2,5}+-[A-Za-z0-9_-]{16}", TAIL_TOKEN, EDGE},
    {KIND_ANTHROPIC, "sk-ant-", "", "sk-ant-[A-Za-z0-9_-]{16}", TAIL_WORD, EDGE},
    {KIND_OPENAI, "sk-", "", "sk-(?!ant-)(?=[a-z_-]{0,60}+[A-Z0-9])[A-Za-z0-9_-]{20}", TAIL_WORD, EDGE},
    {KIND_AWS, "akia asia abia acca agpa aida aipa anpa anva aroa apka", "",
     "(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AIPA|ANPA|ANVA|AROA|APKA)[A-Z0-9]{16}", TAIL_WORD, EDGE},
    {KIND_GOOGLE, "aiza", "", "AIza[A-Za-z0-9_-]{30}", TAIL_WORD, EDGE},
    {KIND_GOOGLE, "ya29.", "", "ya29\\.[A-Za-z0-9_-]{20}", TAIL_TOKEN, EDGE},
    {KIND_GOOGLE, "gocspx-", "", "GOCSPX-[A-Za-z0-9_-]{20}", TAIL_WORD, EDGE},
    {KIND_GOOGLE, "1//0", "1//0", "[A-Za-z0-9_-]{30}", TAIL_WORD, EDGE},
    {KIND_SLACK, "xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs-", "",
     "xox[abcdeoprs][.-][A-Za-z0-9-]{10}", TAIL_TOKEN, EDGE},
    {KIND_SLACK, "xapp-", "", "xapp-[0-9]-[A-Za-z0-9-]{10}", TAIL_WORD, EDGE},
    {KIND_SLACK, "hooks.slack.com/ hooks.slack-gov.com/",
     "hooks\\.slack(?:-gov)?+\\.com/(?:services|workflows|triggers)/", "[A-Za-z0-9_/-]{10}", TAIL_TOKEN, 0},
    {KIND_WEBHOOK, "discord.com/api/webhooks/", "discord\\.com/api/webhooks/[0-9]{1,24}+/", WORD "{10}", TAIL_WORD, 0},
    {KIND_STRIPE, "sk_live_ sk_test_ rk_live_ rk_test_", "", "[sr]k_(?:live|test)_[A-Za-z0-9]{16}", TAIL_WORD, EDGE},
    {KIND_WEBHOOK, "whsec_", "", "whsec_[A-Za-z0-9+/=_-]{16}", TAIL_TOKEN, EDGE},
    {KIND_HUGGING_FACE, "hf_ api_org_", "", "(?:hf|api_org)_[A-Za-z0-9]{24}", TAIL_WORD, EDGE},
    {KIND_NPM, "npm_", "", "npm_[A-Za-z0-9]{30}", TAIL_WORD, EDGE},
    {KIND_ERRAND, "errand_", "", "errand_[A-Za-z0-9]{1,40}+_(?=[a-z_-]{0,44}+[A-Z0-9])[A-Za-z0-9_-]{20}", TAIL_WORD,
     EDGE},
    {KIND_ERRAND, "ert_", "", "ert_[0-9]{1,16}+_[A-Za-z0-9_-]{20}", TAIL_WORD, EDGE},
    {KIND_JWT, "eyj", "",
     "eyJ[A-Za-z0-9_-]{8,4096}+(\\.(?:eyJ[A-Za-z0-9_-]{2}|[A-Za-z0-9_-]{0,1024}+\\.[A-Za-z0-9_-]{4}))?+", TAIL_TOKEN,
     EDGE | JWT},
    {KIND_BEARER, "bearer", "bearer[ \\t]{1,4}+",
     "(?:(?=[A-Za-z._~+/=-]{0,80}+[0-9])[A-Za-z0-9._~+/=-]{8}|[A-Za-z0-9._~+/=-]{24})", TAIL_TOKEN, 0},
    {KIND_BASIC, "basic", "basic[ \\t]{1,4}+", "([A-Za-z0-9+/_-]{6,512}+={0,2}+)", TAIL_TOKEN, BASIC},
    {KIND_URL, "://", "://[^\\s/@:\"'<>\\\\?#[]{0,256}+:",
     "([^\\s/\"'<>\\\\@]{1,512}+(?:@[^\\s/@\"'<>\\\\?#:]{1,256}+(?=@)){0,3}+)@", TAIL_NONE, FIXED},
    {KIND_URL, "://", "://", "([A-Za-z0-9_~%.-]{20,255}+)@", TAIL_NONE, FIXED},
    {KIND_COOKIE, "cookie", "cookie2?+\\\\{0,7}+[\"']?+\\]?+[ \\t]{0,4}+[:=][ \\t]{0,4}+\\\\{0,7}+[\"']?+",
     "[A-Za-z0-9_!#$%&*+.^|~-]{1,128}+=[^\\s\"';]", TAIL_LINE, 0},
    {KIND_SECRET, "key pass pwd secret token credential creds auth", NAME_LEAD, "", TAIL_VALUE, NAMED},
};

/* What stands behind a name and is no secret: markers, references, placeholders, words of a language. */
#define STAYS                                                                                                          \
    "(?:\\[(?:SECRET|REDACTED):[A-Za-z0-9_.-]{0,130}\\]|\\[\\*\\]|\\$\\{[^}\\r\\n]{0,128}+\\}+|\\$\\([^)\\r\\n]{0,"    \
    "128}+\\)|"                                                                                                        \
    "\\$[A-Za-z_][A-Za-z0-9_:.]{0,64}+|\\{\\{[^}\\r\\n]{0,128}+\\}\\}|<[^<>\\r\\n]{0,128}+>|%[A-Za-z_][A-Za-z0-9_]{0," \
    "64}+%|"                                                                                                           \
    "[*xX.\\x{e2}\\x{80}\\x{a2}_-]{1,256}+|(?i:null|none|nil|true|false|undefined|string|number|boolean|required|"     \
    "optional|"                                                                                                        \
    "redacted|removed|hidden|masked|omitted|unset|missing|invalid|expired)|(?i:your)[-_ ][A-Za-z0-9_ -]{0,64}+|"       \
    "(?:os\\.environ|process\\.env|os\\.getenv|getenv|System\\.getenv|env|secrets|vars|config|settings|self|args|op:/" \
    "|"                                                                                                                \
    "vault:)[.(\\[/][A-Za-z0-9_.(\\[\\]\"'/)-]{0,128}+)"
#define MARKER "\\[(?:\\*|(?:SECRET|REDACTED):[A-Za-z0-9_.-]{0,130}+)\\]"
/* Behind a marker there may be anything: what was part of the value went with it. */
static const char stays_here[] =
    "[^\\r\\n]{0,5}?" MARKER "|" STAYS "(?=[\\s\"'`\\\\,;&<>]|[)}\\]]{1,4}+(?:[\\s\"'`\\\\,;.&<]|\\z)|\\z)";
static const char stays_whole[] = STAYS "\\z";
/* Behind `name: ` a word of lower-case letters that another one follows is prose. */
/* A secret may have stood in that word. */
static const char prose[] = "[A-Za-z]?+(?:[a-z']|" MARKER "){1,30}+[,.:;!?]?+[ \\t]{1,4}+[^\\s]";
static const char scheme[] = "(?i:bearer|basic|token|digest|negotiate|apikey|key)[ \\t]{1,4}+";
static const char value_plain[] = "[^\\s\"'`<>&\\\\]{6}";
static const char value_double[] = "(?:\\\\[^\\r\\n]|[^\"\\\\\\r\\n]){6}",
                  value_single[] = "(?:\\\\[^\\r\\n]|[^'\\\\\\r\\n]){6}", value_back[] = "[^`\\r\\n]{6}";
/* Within quotes that are escaped themselves: of six bytes the last may be the closing quote's backslash; before a quote of the value there are more of them. */
static const char inner_double[] = "[^\"\\r\\n]{6}|[^\"\\\\\\r\\n]{0,5}+\\\\{3}",
                  inner_single[] = "[^'\\r\\n]{6}|[^'\\\\\\r\\n]{0,5}+\\\\{3}";

enum extra {
    STAYS_HERE,
    STAYS_WHOLE,
    PROSE,
    SCHEME,
    VALUE_PLAIN,
    VALUE_DOUBLE,
    VALUE_SINGLE,
    VALUE_BACK,
    INNER_DOUBLE,
    INNER_SINGLE,
    EXTRA_COUNT
};
static const char *const extra_patterns[EXTRA_COUNT] = {stays_here,   stays_whole,  prose,        scheme,
                                                        value_plain,  value_double, value_single, value_back,
                                                        inner_double, inner_single};

struct shapes {
    struct ac *anchors;
    unsigned char shape_of[256][2]; /* by anchor: which shapes, and how many behind the first */
    pcre2_code *lead[ARRAY_LEN(shape_table)], *body[ARRAY_LEN(shape_table)], *extra[EXTRA_COUNT];
};

static struct shapes *compiled; /* set once, never freed */
static pthread_once_t compiled_once = PTHREAD_ONCE_INIT;

static pcre2_code *compile(const char *pattern, uint32_t options)
{
    int error;
    PCRE2_SIZE at;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | options, &error, &at, NULL);
    if (code)
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD); /* without JIT it is only slower */
    return code;
}

static bool compile_all(struct shapes *s)
{
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(shape_table); i++) {
        if (shape_table[i].lead[0])
            ok = (s->lead[i] = compile(shape_table[i].lead, PCRE2_CASELESS)) && ok;
        if (shape_table[i].body[0])
            ok = (s->body[i] = compile(shape_table[i].body, 0)) && ok;
    }
    for (size_t i = 0; i < EXTRA_COUNT; i++)
        ok = (s->extra[i] = compile(extra_patterns[i], 0)) && ok;
    return ok;
}

/* A blank between anchors; anchors of one text that several shapes have stand in shapes next to each other. */
static bool add_anchors(struct shapes *s)
{
    int32_t anchor = 0;
    if (ac_new(2048, true, &s->anchors) != ERR_OK)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(shape_table); i++) {
        const struct shape *shape = &shape_table[i];
        if (i > 0 && strcmp(shape->anchors, shape_table[i - 1].anchors) == 0) {
            s->shape_of[anchor - 1][1]++;
            continue;
        }
        for (const char *at = shape->anchors; *at;) {
            size_t len = strcspn(at, " ");
            char word[32];
            PRE(len < sizeof word && anchor < 256);
            for (size_t k = 0; k < len; k++)
                word[k] = (char)(at[k] == '\t' ? ' ' : at[k]);
            s->shape_of[anchor][0] = (unsigned char)i;
            ac_add(s->anchors, (struct str){word, len}, anchor,
                   shape->lead[0]        ? 0
                   : shape->flags & EDGE ? SHAPE_AT_EDGE
                                         : SHAPE_ANYWHERE);
            anchor++;
            at += len + (at[len] == ' ');
        }
    }
    return ac_finish(s->anchors) == ERR_OK;
}

static void compile_once(void)
{
    struct shapes *s = calloc(1, sizeof *s);
    if (s && compile_all(s) && add_anchors(s))
        compiled = s;
}

const struct shapes *shapes_get(void)
{
    pthread_once(&compiled_once, compile_once);
    return compiled;
}

const struct ac *shapes_anchors(const struct shapes *s)
{
    return s->anchors;
}

/* ---- matching ---- */

static enum redact_word match(struct shape_match *m, const pcre2_code *code, struct str text, size_t at, bool final,
                              size_t *ret_end)
{
    if (at >= text.len && !final)
        return WORD_HOLD; /* PCRE2 calls an empty partial match none */
    int rc = pcre2_match(code, (PCRE2_SPTR)text.ptr, text.len, at, final ? 0 : PCRE2_PARTIAL_HARD, m->data, m->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return WORD_NO;
    if (rc == PCRE2_ERROR_PARTIAL)
        return WORD_HOLD;
    if (rc < 0)
        return WORD_UNDECIDED;
    m->groups = (uint32_t)rc;
    *ret_end = pcre2_get_ovector_pointer(m->data)[1];
    return WORD_YES;
}

/* The group's place in the last match; false when it has none. */
static bool group(const struct shape_match *m, uint32_t n, size_t *ret_start, size_t *ret_end)
{
    *ret_start = *ret_end = 0;
    if (n >= m->groups)
        return false;
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m->data);
    *ret_start = v[2 * n];
    *ret_end = v[2 * n + 1];
    return v[2 * n] != PCRE2_UNSET && v[2 * n + 1] > v[2 * n];
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool hex_run(struct str text, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (hex_value(text.ptr[from + i]) < 0)
            return false;
    return true;
}

/* Behind a letter or a digit no word begins, but that may be the end of an escape: \n, \u003d, %3D, or a colour. */
bool shapes_may_begin(struct str text, size_t at)
{
    const char *p = text.ptr;
    if (at == 0 || !is_word(p[at - 1]))
        return true;
    if (at >= 2 && p[at - 2] == '\\' && strchr("nrtbfv0", p[at - 1]))
        return true;
    if (at >= 3 && (p[at - 3] == '%' || (at >= 4 && p[at - 4] == '\\' && p[at - 3] == 'x')) && hex_run(text, at - 2, 2))
        return true;
    if (at >= 6 && p[at - 6] == '\\' && p[at - 5] == 'u' && hex_run(text, at - 4, 4))
        return true;
    if (p[at - 1] != 'm')
        return false;
    size_t i = at - 1;
    while (i > 0 && at - i < 20 && ((p[i - 1] >= '0' && p[i - 1] <= '9') || p[i - 1] == ';'))
        i--;
    return i > 0 && p[i - 1] == '[';
}

/* ---- what the flags add ---- */

/* Behind "Basic": base64 of something with a colon, near enough to its beginning. */
static bool is_user_pass(struct str s)
{
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < s.len && s.ptr[i] != '='; i++) {
        char c = s.ptr[i];
        unsigned v = c >= 'A' && c <= 'Z'   ? (unsigned)(c - 'A')
                     : c >= 'a' && c <= 'z' ? (unsigned)(c - 'a' + 26)
                     : c >= '0' && c <= '9' ? (unsigned)(c - '0' + 52)
                     : c == '+' || c == '-' ? 62
                                            : 63;
        bits = bits << 6 | v;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        unsigned byte = (bits >> have) & 0xff;
        if (byte == ':')
            return true;
        if (byte < 0x20 || byte == 0x7f)
            return false;
    }
    return false;
}

static enum redact_word eval_body(const struct shapes *s, struct shape_match *m, size_t i, struct str text, size_t at,
                                  bool final, struct redact_hit *hit)
{
    const struct shape *shape = &shape_table[i];
    size_t from = 0, to = 0;
    *hit = (struct redact_hit){.start = at, .kind = shape->kind, .tail = shape->tail};
    enum redact_word w = match(m, s->body[i], text, at, final, &hit->end);
    if (w != WORD_YES)
        return w;
    bool grouped = group(m, 1, &from, &to);
    if (shape->flags & JWT) {
        bool yes = (grouped && to == hit->end) || hit->end - at >= JWT_HEAD_MAX; /* past the bound it is redacted */
        m->jwt_dead = hit->end; /* of one run only its first beginning is looked at */
        return yes ? WORD_YES : WORD_NO;
    }
    if ((shape->flags & BASIC) && !is_user_pass((struct str){text.ptr + from, to - from}))
        return WORD_NO;
    if (grouped) {
        hit->start = from;
        hit->end = to;
    }
    if (!(shape->flags & FIXED))
        return WORD_YES;
    w = shapes_value_stays(s, m, (struct str){text.ptr + hit->start, hit->end - hit->start});
    return w == WORD_YES ? WORD_NO : w == WORD_NO ? WORD_YES : w;
}

/* ---- name = value ---- */

struct named {
    enum redact_kind kind;
    size_t value;
    char separator, quote;
    unsigned slashes;
    bool spaced; /* white space before the value */
};

enum { NAME_BACK = 64 };

static bool name_byte(char c)
{
    return is_word(c) || c == '_' || c == '-' || c == '.';
}

static bool ends_with(struct str s, const char *with)
{
    size_t n = strlen(with);
    return s.len >= n && memcmp(s.ptr + s.len - n, with, n) == 0;
}

/* Reads what NAME_LEAD matched. False: no name of a secret, or nothing that leads to a value. */
static bool read_name(const struct shape_match *m, struct str text, size_t at, size_t end, struct named *ret_named)
{
    size_t from, to, sep, sep_end, quote, quote_end, begin = at;
    if (!group(m, 1, &from, &to))
        return false;
    while (begin > 0 && at - begin < NAME_BACK && name_byte(text.ptr[begin - 1]))
        begin--;
    struct str name = {text.ptr + begin, to - begin}, before = {text.ptr, begin};
    if (ends_with(before, "[SECRET:") || ends_with(before, "[REDACTED:") ||
        (ends_with(before, "[") && str_eqz(name, "SECRET")) || ends_with(before, "://"))
        return false; /* a marker's own words; a URL's user */
    struct named n = {.value = end};
    if (!redact_name(name, &n.kind))
        return false;
    n.spaced = end > to && (text.ptr[end - 1] == ' ' || text.ptr[end - 1] == '\t');
    if (group(m, 2, &sep, &sep_end))
        n.separator = text.ptr[sep];
    if (group(m, 3, &quote, &quote_end)) {
        n.quote = text.ptr[quote_end - 1];
        n.slashes = (unsigned)(quote_end - quote - 1);
        n.spaced = false;
    }
    bool option = to - begin > 2 && text.ptr[begin] == '-' && text.ptr[begin + 1] == '-';
    bool element = begin > 0 && text.ptr[begin - 1] == '<';
    *ret_named = n;
    if (!n.separator)
        return option && end > to && (text.ptr[to] == ' ' || text.ptr[to] == '\t');
    return n.separator != '>' || element;
}

static enum redact_word eval_value(const struct shapes *s, struct shape_match *m, const struct named *n,
                                   struct str text, bool final, struct redact_hit *hit)
{
    bool inner = n->slashes > 0;
    enum extra form = n->quote == '"'    ? (inner ? INNER_DOUBLE : VALUE_DOUBLE)
                      : n->quote == '\'' ? (inner ? INNER_SINGLE : VALUE_SINGLE)
                      : n->quote == '`'  ? VALUE_BACK
                                         : VALUE_PLAIN;
    size_t end;
    *hit = (struct redact_hit){.start = n->value,
                               .kind = n->kind,
                               .quote = n->quote,
                               .slashes = n->slashes,
                               .tail = n->quote ? TAIL_QUOTED : TAIL_VALUE};
    enum redact_word w;
    if (n->kind == KIND_AUTHORIZATION) {
        w = match(m, s->extra[SCHEME], text, hit->start, final, &end);
        if (w == WORD_YES) {
            char first = text.ptr[hit->start], second = text.ptr[hit->start + 1];
            hit->kind = first != 'b' && first != 'B'     ? hit->kind
                        : second == 'e' || second == 'E' ? KIND_BEARER
                                                         : KIND_BASIC;
            hit->start = end;
        } else if (w != WORD_NO) {
            return w;
        }
    }
    w = match(m, s->extra[STAYS_HERE], text, hit->start, final, &end);
    if (w != WORD_NO)
        return w == WORD_YES ? WORD_NO : w;
    if (n->spaced && n->separator == ':') {
        w = match(m, s->extra[PROSE], text, hit->start, final, &end);
        if (w != WORD_NO)
            return w == WORD_YES ? WORD_NO : w;
    }
    w = match(m, s->extra[form], text, hit->start, final, &hit->end);
    while (w == WORD_YES && n->slashes > 0 && hit->end > hit->start && text.ptr[hit->end - 1] == '\\')
        hit->end--; /* they may belong to the closing quote: the tail knows */
    return w;
}

static enum redact_word eval_shape(const struct shapes *s, struct shape_match *m, size_t i, struct str text, size_t at,
                                   bool final, struct redact_hit *hit)
{
    const struct shape *shape = &shape_table[i];
    size_t end = at;
    if (((shape->flags & EDGE) && !shapes_may_begin(text, at)) || ((shape->flags & JWT) && at < m->jwt_dead))
        return WORD_NO;
    if (s->lead[i]) {
        enum redact_word w = match(m, s->lead[i], text, at, final, &end);
        if (w == WORD_HOLD && (shape->flags & FIXED)) {
            hit->start = at + 3 < text.len ? at + 3 : text.len;
            return WORD_HOLD;
        }
        if (w != WORD_YES)
            return w == WORD_HOLD ? WORD_SOFT : w;
    }
    if (!(shape->flags & NAMED))
        return eval_body(s, m, i, text, end, final, hit);
    struct named n;
    return read_name(m, text, at, end, &n) ? eval_value(s, m, &n, text, final, hit) : WORD_NO;
}

enum redact_word shapes_eval(const struct shapes *s, struct shape_match *m, int32_t anchor, struct str text, size_t at,
                             bool final, struct redact_hit *ret_hit)
{
    size_t first = s->shape_of[anchor][0], more = s->shape_of[anchor][1];
    enum redact_word w = WORD_NO;
    for (size_t i = first; i <= first + more && w == WORD_NO; i++)
        w = eval_shape(s, m, i, text, at, final, ret_hit);
    return w;
}

enum redact_word shapes_value_stays(const struct shapes *s, struct shape_match *m, struct str value)
{
    size_t end;
    return match(m, s->extra[STAYS_WHOLE], value, 0, true, &end);
}
