/* Redaction: secrets that a run was given, and whatever has the shape of a credential, are replaced by markers: `[SECRET:NAME]` and `[REDACTED:kind]`. Pure: bytes in, bytes out; never blocks. Linear in
 * its input. It never fails open: what can't be decided (memory, PCRE2's limits) is replaced whole by `[REDACTED:undecided]` and counted. A redactor is used by one thread. docs/architecture.md, "Redaction".
 *
 *   redact_secrets.c  values, their encodings and the markers      redact_stream.c  the engine: text that comes in pieces
 *   redact_shapes.c   credentials by their shape (PCRE2)           redact_json.c    JSON, without encoding it anew
 *   redact_names.c    which names promise a secret                 redact_quick.c   a quick look at what is harmless
 *   ac.c              many words in one pass */
#ifndef ERRAND_COMMON_REDACT_H
#define ERRAND_COMMON_REDACT_H

#include "common/err.h"
#include "common/strbuf.h"

struct redactor;

struct redact_secret {
    struct str name, value;
};

/* Copies what it needs; n may be 0: shapes only. Empty values are passed over. ERR_NO_MEMORY, ERR_INTERNAL (PCRE2 would not compile). */
MUST_CHECK enum err redactor_new(const struct redact_secret *secrets, size_t n, struct redactor **ret_redactor);
/* Wipes. Takes NULL. No stream of it may be left. */
void redactor_free(struct redactor *r);
/* Memory that it takes, in bytes, about. */
size_t redactor_bytes(const struct redactor *r);
/* How often it could not decide. */
int64_t redactor_undecided(const struct redactor *r);
/* For tests: PCRE2 gives up after so many steps. */
void redactor_limit(struct redactor *r, uint32_t steps);

/* Appends in, redacted. */
void redact_text(struct redactor *r, struct str in, struct strbuf *out);
/* The same for one whole JSON value: it stays valid JSON (an object stays an object), and what is not redacted stays byte for byte. A key that promises a secret hides its value whole. */
void redact_json(struct redactor *r, struct str json, struct strbuf *out);

/* A quick look, for those who have much of what is harmless. text: true only where nothing that is to be redacted stands in it, or begins in it. key: the same of a key of JSON without escapes, and it promises no
 * secret. Of a JSON value all of whose strings (as they are meant) and whose text are so, with such keys, redact_json changes nothing. False: look properly. */
bool redact_quick(struct redactor *r, struct str text);
bool redact_quick_key(struct redactor *r, struct str key);
/* Whether it may be asked of a JSON value's strings and of what stands between them apart: nothing that is looked for has a quote in it. */
bool redact_quick_apart(struct redactor *r);
/* Whether what is called so, by a member `name` or `key` beside its `value`, is no secret. */
bool redact_quick_name(struct str name);
/* Whether nothing in a text could even begin to be redacted: redact_text, and a stream of it, would give it as it is. Quick; false says nothing. */
bool redact_text_clean(const struct redactor *r, struct str text);
/* The same for redact_json, of valid JSON (or several values of it, one behind the other), without walking it. */
bool redact_json_clean(const struct redactor *r, struct str json);

/* Text that comes in pieces: what is appended does not depend on where the pieces are cut. What may be the beginning of a secret is kept back. */
struct redact_stream;
MUST_CHECK enum err redact_stream_new(struct redactor *r, struct redact_stream **ret_stream);
void redact_stream_free(struct redact_stream *s);
void redact_stream_feed(struct redact_stream *s, struct str in, struct strbuf *out);
/* The end: what was kept back is decided. The stream may be fed anew afterwards, and begins from nothing. */
void redact_stream_end(struct redact_stream *s, struct strbuf *out);
/* The same for those who must know where what comes out belongs: text as it came (at: its place since the beginning of the stream), and markers at the place where what they stand for begins. last: the end. */
struct redact_sink {
    void (*text)(void *ctx, size_t at, struct str text);
    void (*marker)(void *ctx, size_t at, struct str marker);
    void *ctx;
};
void redact_run(struct redact_stream *s, struct str in, bool last, const struct redact_sink *sink);
/* The quick way of redact_run, for a short piece in which nothing stands that redact_quick says no to, not even with what is kept back before it. ret_shown: all that comes out, borrowed until the next call; ret_whole:
 * it is the piece itself. False: nothing was done. */
enum { REDACT_QUICK_MAX = 4096 };
bool redact_run_quick(struct redact_stream *s, struct str in, struct str *ret_shown, bool *ret_whole);
/* A pause in the text: what is kept back goes out where it is no more than the first few bytes of something public (`s` of `sk-`), nothing of a secret (of a runner token its `ert`, where no other secret was given). What follows is judged with it all the same. */
void redact_stream_pause(struct redact_stream *s, struct strbuf *out);
/* Bytes that are kept back. */
size_t redact_stream_held(const struct redact_stream *s);

#endif
