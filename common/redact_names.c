/* Which names promise a secret. A name is cut into words (snake_case, kebab-case, camelCase), what only says where or how it is kept is left off its end, and the last words decide. */
#include "common/redact_parts.h"

enum { WORDS_MAX = 24, WORD_MAX = 32 };

struct words {
    char text[WORDS_MAX][WORD_MAX + 1];
    size_t n;
};

static bool in(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; len > 0 && (at = strstr(at, word)); at += len)
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0))
            return true;
    return false;
}

static bool ends(const char *word, const char *with)
{
    size_t n = strlen(word), k = strlen(with);
    return n >= k && strcmp(word + n - k, with) == 0;
}

static bool upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whether a word begins at i: behind a separator, at aB, at the B of ABc, and between letters and digits. */
static bool begins(struct str s, size_t i)
{
    char c = s.ptr[i], before = i > 0 ? s.ptr[i - 1] : 0;
    if (upper(c) && lower(before))
        return true;
    if (upper(c) && upper(before) && i + 1 < s.len && lower(s.ptr[i + 1]))
        return true;
    return digit(c) != digit(before) && before != 0;
}

/* False when it has more or longer words than names have. */
static bool split(struct str name, struct words *w)
{
    size_t len = 0;
    w->n = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = upper(c) || lower(c) || digit(c);
        if (len > 0 && (!letter || begins(name, i))) {
            w->text[w->n++][len] = 0;
            len = 0;
        }
        if (!letter)
            continue;
        if (w->n == WORDS_MAX || len == WORD_MAX)
            return false;
        w->text[w->n][len++] = (char)(upper(c) ? c + 32 : c);
    }
    if (len > 0)
        w->text[w->n++][len] = 0;
    return w->n > 0;
}

/* What follows a name only to say where, when, or how. */
static const char suffixes[] =
    "value val values b64 base64 encoded raw plain plaintext text string str env var prod production dev development "
    "staging stage test testing live sandbox old new current previous prev "
    "primary secondary backup default main local override file0";
/* Keys that open something. */
static const char key_of[] =
    "api access secret private auth authentication signing signature encryption encrypt decryption master service "
    "account shared storage admin root ssh gpg pgp hmac jwt app application client webhook "
    "subscription license deploy role session cookie crypt cipher aes rsa bot server sa "
    "openai anthropic claude stripe aws azure gcp google gemini github gitlab slack sendgrid mailgun mailchimp twilio "
    "datadog dd hf huggingface mistral cohere groq deepseek openrouter replicate pinecone "
    "supabase firebase cloudflare algolia newrelic sentry heroku linear notion airtable together perplexity tavily "
    "serpapi elevenlabs xai errand";
/* Tokens that open nothing. */
static const char no_token_of[] =
    "next page continuation sync max min stop special pad eos bos unk mask sep cls last first per num total input "
    "output prompt completion start end partition cancellation resume";
static const char token_lists[] = "access refresh auth api bearer session id";
static const char glued_keys[] =
    "apikey apikeys accesskey secretkey privatekey authkey signingkey encryptionkey masterkey";

static bool found(enum redact_kind *ret_kind, enum redact_kind kind)
{
    *ret_kind = kind;
    return true;
}

static bool decide(const char *before, const char *last, bool alone, enum redact_kind *ret_kind)
{
    if (ends(last, "password") || ends(last, "passwords") || ends(last, "passwd") || ends(last, "passphrase") ||
        strcmp(last, "pwd") == 0 || strcmp(last, "passcode") == 0 || (strcmp(last, "pass") == 0 && !alone))
        return found(ret_kind, KIND_PASSWORD);
    if (ends(last, "secret") || strcmp(last, "secrets") == 0)
        return found(ret_kind, KIND_SECRET);
    if (ends(last, "token"))
        return !in(no_token_of, before) && found(ret_kind, KIND_TOKEN);
    if (strcmp(last, "tokens") == 0)
        return in(token_lists, before) && *before && found(ret_kind, KIND_TOKEN);
    if (in(glued_keys, last) || ends(last, "apikey"))
        return found(ret_kind, KIND_API_KEY);
    if (strcmp(last, "key") == 0 || strcmp(last, "keys") == 0)
        return *before && in(key_of, before) && found(ret_kind, KIND_API_KEY);
    if (strcmp(last, "credential") == 0 || strcmp(last, "credentials") == 0 || strcmp(last, "creds") == 0)
        return found(ret_kind, KIND_CREDENTIAL);
    if (strcmp(last, "authorization") == 0)
        return found(ret_kind, KIND_AUTHORIZATION);
    return strcmp(last, "auth") == 0 && *before && in("basic http proxy registry", before) &&
           found(ret_kind, KIND_AUTHORIZATION);
}

bool redact_name(struct str name, enum redact_kind *ret_kind)
{
    struct words w;
    enum redact_kind kind;
    if (!split(name, &w))
        return false;
    if (w.n == 1 && strcmp(w.text[0], "auth") == 0 && name.ptr[0] == '_') /* .npmrc's _auth */
        return found(ret_kind, KIND_AUTHORIZATION);
    size_t n = w.n;
    for (;;) {
        if (decide(n > 1 ? w.text[n - 2] : "", w.text[n - 1], n == 1, &kind)) {
            for (size_t i = 0; i + 1 < n; i++) /* public_key, publishable_key, publicApiKey */
                if (in("public publishable", w.text[i]) && kind == KIND_API_KEY)
                    return false;
            return found(ret_kind, kind);
        }
        if (n == 1 || !(digit(w.text[n - 1][0]) || in(suffixes, w.text[n - 1])))
            return false;
        n--;
    }
}
