/* Redaction's own parts, shared by its files and by nobody else (common/redact.h is the interface). */
#ifndef ERRAND_COMMON_REDACT_PARTS_H
#define ERRAND_COMMON_REDACT_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/ac.h"
#include "common/redact.h"

/* ---- kinds: what stands in `[REDACTED:kind]` ---- */

#define REDACT_KINDS(X)                                                                                                \
    X(UNDECIDED, "undecided")                                                                                          \
    X(PRIVATE_KEY, "private_key")                                                                                      \
    X(GITHUB, "github_token")                                                                                          \
    X(GITLAB, "gitlab_token")                                                                                          \
    X(OPENAI, "openai_key")                                                                                            \
    X(ANTHROPIC, "anthropic_key")                                                                                      \
    X(AWS, "aws_key")                                                                                                  \
    X(GOOGLE, "google_key")                                                                                            \
    X(SLACK, "slack_token")                                                                                            \
    X(STRIPE, "stripe_key")                                                                                            \
    X(HUGGING_FACE, "huggingface_token")                                                                               \
    X(NPM, "npm_token")                                                                                                \
    X(ERRAND, "errand_key")                                                                                            \
    X(WEBHOOK, "webhook_secret")                                                                                       \
    X(JWT, "jwt")                                                                                                      \
    X(BEARER, "bearer")                                                                                                \
    X(BASIC, "basic")                                                                                                  \
    X(AUTHORIZATION, "authorization")                                                                                  \
    X(URL, "url_password")                                                                                             \
    X(COOKIE, "cookie")                                                                                                \
    X(PASSWORD, "password")                                                                                            \
    X(SECRET, "secret")                                                                                                \
    X(TOKEN, "token")                                                                                                  \
    X(API_KEY, "api_key")                                                                                              \
    X(CREDENTIAL, "credential")
#define REDACT_KIND_ENUM(id, name) KIND_##id,
enum redact_kind { REDACT_KINDS(REDACT_KIND_ENUM) KIND_COUNT };
#undef REDACT_KIND_ENUM

/* ---- names (redact_names.c) ---- */

/* Whether a name promises a secret (OPENAI_API_KEY, clientSecret, x-auth-token; not partition_key, max_tokens), and which kind. */
bool redact_name(struct str name, enum redact_kind *ret_kind);

/* ---- shapes (redact_shapes.c) ---- */

enum { REDACT_SHORT = 6 /* a shorter value is matched only whole; behind a name it stays */, REDACT_CONTEXT = 192 };

/* What a match goes on with, however long that is. */
/* Quoted values: one for each quote and number of backslashes before it, because one may stand within another. */
enum { REDACT_SLASHES = 8, REDACT_QUOTED = 3 * REDACT_SLASHES };
enum redact_tail {
    TAIL_WORD,
    TAIL_TOKEN,
    TAIL_VALUE,
    TAIL_LINE,
    TAIL_QUOTED,
    TAIL_COUNT = TAIL_QUOTED + REDACT_QUOTED,
    TAIL_PEM,
    TAIL_PEM_END,
    TAIL_NONE
};

struct redact_hit {
    size_t start, end;
    enum redact_kind kind;
    enum redact_tail tail;
    char quote;       /* TAIL_QUOTED */
    unsigned slashes; /* and the backslashes before it */
};

enum redact_word {
    WORD_NO,
    WORD_YES,
    WORD_SOFT,     /* more is needed, and what stands there is not secret itself */
    WORD_HOLD,     /* more is needed, and what stands from hit.start on must wait */
    WORD_UNDECIDED /* PCRE2 gave up */
};

struct shapes; /* compiled once a process */
/* NULL when PCRE2 would not. */
const struct shapes *shapes_get(void);
const struct ac *shapes_anchors(const struct shapes *s);
/* What a redactor needs to match with: not shared between threads. */
struct shape_match {
    pcre2_match_data *data;
    pcre2_match_context *limits;
    uint32_t groups; /* of the last match, the whole one counted */
    size_t jwt_dead; /* no JWT begins before this place of the text: the run of its characters was looked at */
};
/* anchor: the word of the automaton that stands at `at`. text holds up to REDACT_CONTEXT bytes of what came before; final: nothing comes behind it. */
enum redact_word shapes_eval(const struct shapes *s, struct shape_match *m, int32_t anchor, struct str text, size_t at,
                             bool final, struct redact_hit *ret_hit);
/* Whether one that begins at `at` may wait for more (what stands before it allows for it). */
bool shapes_may_begin(struct str text, size_t at);
/* Whether a value that stands behind a name is none: a placeholder, a reference, a marker. WORD_UNDECIDED when PCRE2 gave up. */
enum redact_word shapes_value_stays(const struct shapes *s, struct shape_match *m, struct str value);
/* Marks of the automaton: the anchor itself is part of the secret, wherever it stands, or where a word may begin. */
enum { SHAPE_ANYWHERE = 1, SHAPE_AT_EDGE = 2 };

/* ---- the redactor (redact_secrets.c) ---- */

struct redactor {
    struct ac *secrets;
    const struct shapes *shapes;
    struct shape_match match;
    struct strbuf marker_text; /* all markers, one after the other */
    struct str kind_markers[KIND_COUNT];
    struct str *secret_markers;
    size_t secret_count;
    bool token_only; /* the only secret is a runner token, whose beginning everybody knows */
    bool mute;       /* no marker can be told apart from the secrets: nothing is shown at all */
    int64_t undecided;
    struct redact_quick *quick; /* made when it is first asked; NULL before */
    struct redact_stream *own;  /* what redact_text and redact_json work with */
};

/* A word's value: which secret, and whether it counts only when it stands alone. */
static inline int32_t secret_word(size_t secret, bool whole)
{
    return (int32_t)(secret << 1 | (whole ? 1 : 0));
}
void redactor_count_undecided(struct redactor *r);
/* Whether a byte may stand beside a short value that stands alone. */
bool redact_edge(char c, bool left);

/* redact_quick.c. Takes NULL. */
void redact_quick_free(struct redact_quick *q);
/* Whether no word of the secrets begins at secrets_from or behind it and is whole, nor one of the anchors' from shapes_from on. ret_secret, ret_shape: the longest beginnings of words that the text ends with, as nodes
 * of the automatons; AC_ROOT: there is none. */
bool redact_quick_look(struct redactor *r, struct str text, size_t secrets_from, size_t shapes_from,
                       uint32_t *ret_secret, uint32_t *ret_shape);
/* Whether nothing in it could even begin to be redacted. */
bool redact_clean(const struct redactor *r, struct str text);

#endif
