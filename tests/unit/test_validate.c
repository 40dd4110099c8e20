/* Bodies of runs and of agent definitions: every field's type, range and words, what is refused by which name, and what is filled in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/validate.h"
#include "common/clock.h"
#include "common/limits.h"

#define C        "\"command\":[\"x\"]"
#define DEF(f)   "{" C "," f "}"
#define RUN(f)   "{\"agent\":\"a\"," f "}"
#define PARENT   "00000000-0000-4000-8000-000000000000"
#define TEN(s)   s s s s s s s s s s
#define LONG128  TEN("abcdefghij") "abcdefghijabcdefghijabcdefgh"
#define LONG1024 TEN(TEN("abcdefghij")) "abcdefghijabcdefghijabcd"

struct refusal_case {
    const char *name;
    const char *body;
    enum err err;
    const char *detail; /* what its sentence begins with: the field's name; NULL when it is ERR_OK */
};

static bool definition(struct arena *a, struct str body, struct definition *ret_def, struct fault *ret_fault)
{
    const struct json *root = NULL;
    return validate_body(a, body, &root, ret_fault) && validate_definition(a, root, STR_NONE, "", ret_def, ret_fault);
}

static bool submission(struct arena *a, struct str body, bool aliases, struct submission *ret_sub,
                       struct fault *ret_fault)
{
    const struct json *root = NULL;
    return validate_body(a, body, &root, ret_fault) && validate_submission(a, root, "", aliases, ret_sub, ret_fault);
}

static void check_case(const struct refusal_case *one, bool ok, const struct fault *fault)
{
    enum err err = ok ? ERR_OK : fault->err;
    if (err != one->err)
        fail_msg("%s: %s (%s) instead of %s", one->name, err_code(err), ok || !fault->detail ? "" : fault->detail,
                 err_code(one->err));
    if (!ok && !(fault->detail && str_starts(str_of(fault->detail), str_of(one->detail))))
        fail_msg("%s: says \"%s\" instead of \"%s…\"", one->name, fault->detail ? fault->detail : "nothing",
                 one->detail);
}

/* ---- definitions ---- */

#define BAD ERR_INVALID_FIELD, /* the sentence follows */
static const struct refusal_case definitions[] = {
    {"the least", "{" C "}", ERR_OK, NULL},
    {"no object", "[]", BAD "an agent definition must be an object"},
    {"null", "null", BAD "an agent definition must be an object"},
    {"not JSON", "{", ERR_INVALID_JSON, "the body is not valid JSON"},
    {"an unknown field", DEF("\"picture\":\"x\""), ERR_UNKNOWN_FIELD, "picture"},
    {"an unknown field, in capitals", DEF("\"TimeoutMs\":1"), ERR_UNKNOWN_FIELD, "TimeoutMs"},
    {"a field that comes later", DEF("\"tags\":[]"), ERR_UNKNOWN_FIELD, "tags"},
    {"a field twice", DEF(C), BAD "a field stands twice"},
    {"policies",
     DEF("\"startWithinMs\":5,\"stallMs\":5,\"concurrency\":2,\"rateLimit\":{\"limit\":5},\"retryOn\":[\"timeout\"],"
         "\"requires\":[\"gpu\"],\"slots\":2"),
     ERR_OK, NULL},
    {"retentions", DEF("\"retentionMs\":5,\"retentionCount\":2,\"eventsRetentionMs\":1,\"resultRetentionMs\":1"),
     ERR_OK, NULL},
    {"concurrency 0", DEF("\"concurrency\":0"), BAD "concurrency must be"},
    {"concurrency, negative", DEF("\"concurrency\":-1"), BAD "concurrency must be"},
    {"slots 0", DEF("\"slots\":0"), BAD "slots must be"},
    {"slots, too many", DEF("\"slots\":1025"), BAD "slots must be"},
    {"rateLimit 0", DEF("\"rateLimit\":{\"limit\":0}"), BAD "rateLimit.limit must be"},
    {"rateLimit with a key", DEF("\"rateLimit\":{\"limit\":1,\"key\":\"x\"}"), ERR_UNKNOWN_FIELD, "rateLimit.key"},
    {"rateLimit, a number", DEF("\"rateLimit\":5"), BAD "rateLimit must be"},
    {"retryOn, unknown", DEF("\"retryOn\":[\"oops\"]"), BAD "retryOn must be"},
    {"retryOn, a word", DEF("\"retryOn\":\"timeout\""), BAD "retryOn must be"},
    {"noRetryOn, of a runner", DEF("\"noRetryOn\":[\"runner_lost\"]"), BAD "noRetryOn must be"},
    {"retentionMs 0", DEF("\"retentionMs\":0"), BAD "retentionMs must be"},
    {"retentionCount 0", DEF("\"retentionCount\":0"), BAD "retentionCount must be"},
    {"stallMs 0", DEF("\"stallMs\":0"), BAD "stallMs must be"},
    /* name, queue */
    {"name", DEF("\"name\":\"Z.a_b-9\""), ERR_OK, NULL},
    {"name, longest", DEF("\"name\":\"" LONG128 "\""), ERR_OK, NULL},
    {"name, too long", DEF("\"name\":\"" LONG128 "x\""), BAD "name must be"},
    {"name, empty", DEF("\"name\":\"\""), BAD "name must be"},
    {"name, begins with a point", DEF("\"name\":\".a\""), BAD "name must be"},
    {"name, begins with a dash", DEF("\"name\":\"-a\""), BAD "name must be"},
    {"name, a slash", DEF("\"name\":\"a/b\""), BAD "name must be"},
    {"name, a space", DEF("\"name\":\"a b\""), BAD "name must be"},
    {"name, a NUL", DEF("\"name\":\"a\\u0000\""), BAD "name must be"},
    {"name, a letter of several bytes", DEF("\"name\":\"\xc3\xbc\""), BAD "name must be"},
    {"name, a number", DEF("\"name\":1"), BAD "name must be"},
    {"name, null", DEF("\"name\":null"), BAD "name must be"},
    {"queue", DEF("\"queue\":\"q\""), ERR_OK, NULL},
    {"queue, a colon", DEF("\"queue\":\"a:b\""), BAD "queue must be"},
    {"queue, a brace", DEF("\"queue\":\"a{b}\""), BAD "queue must be"},
    {"queue, empty", DEF("\"queue\":\"\""), BAD "queue must be"},
    /* executor, provider */
    {"executor", DEF("\"executor\":\"process\""), ERR_OK, NULL},
    {"executor sandbox", DEF("\"executor\":\"sandbox\""), ERR_OK, NULL},
    {"executor pool", DEF("\"executor\":\"pool\""), ERR_OK, NULL},
    {"container without an image", DEF("\"executor\":\"container\""), ERR_MISSING_FIELD, "image is required"},
    {"container", DEF("\"executor\":\"container\",\"image\":\"a:1\""), ERR_OK, NULL},
    {"fly without an image", DEF("\"executor\":\"fly\""), ERR_MISSING_FIELD, "image is required"},
    {"http with a command", DEF("\"executor\":\"http\""), BAD "command does not go with the executor http"},
    {"noop with a command", DEF("\"executor\":\"noop\""), BAD "command does not go with the executor noop"},
    {"anthropic with a command", DEF("\"executor\":\"anthropic\""), BAD "command does not go"},
    {"image with process", DEF("\"image\":\"a:1\""),
     BAD "image does not go with the executor process, only with: container, fly"},
    {"network with process", DEF("\"network\":\"none\""), BAD "network does not go"},
    {"network", DEF("\"executor\":\"sandbox\",\"network\":\"host\""), ERR_OK, NULL},
    {"network, unknown", DEF("\"executor\":\"sandbox\",\"network\":\"x\""), BAD "network must be"},
    {"hosts without filter", DEF("\"executor\":\"sandbox\",\"allowHosts\":[\"a.example.com\"]"),
     BAD "allowHosts goes with"},
    {"hosts",
     DEF("\"executor\":\"sandbox\",\"network\":\"filtered\",\"allowHosts\":[\"*.example.com\",\"b.example.com:8443\"]"),
     ERR_OK, NULL},
    {"hosts, an address with a path", DEF("\"executor\":\"sandbox\",\"network\":\"filtered\",\"allowHosts\":[\"a/b\"]"),
     BAD "allowHosts must be"},
    {"hosts, port 0", DEF("\"executor\":\"sandbox\",\"network\":\"filtered\",\"allowHosts\":[\"a:0\"]"),
     BAD "allowHosts must be"},
    {"hosts, everything", DEF("\"executor\":\"sandbox\",\"network\":\"filtered\",\"allowHosts\":[\"*\"]"),
     BAD "allowHosts must be"},
    {"resources", DEF("\"resources\":{\"cpus\":0.5,\"memoryMb\":64,\"pids\":10,\"diskMb\":1}"), ERR_OK, NULL},
    {"resources, no processor", DEF("\"resources\":{\"cpus\":0}"), BAD "resources.cpus must be"},
    {"resources, little memory", DEF("\"resources\":{\"memoryMb\":7}"),
     BAD "resources.memoryMb must be an integer from 8"},
    {"resources, unknown", DEF("\"resources\":{\"gpus\":1}"), ERR_UNKNOWN_FIELD, "resources.gpus"},
    {"pool with process", DEF("\"pool\":{}"), BAD "pool does not go"},
    {"pool, min over max", DEF("\"executor\":\"pool\",\"pool\":{\"min\":3,\"max\":2}"),
     BAD "pool.min must be at most max"},
    {"pool, base", DEF("\"executor\":\"pool\",\"pool\":{\"base\":\"fly\"}"), BAD "pool.base must be"},
    {"pool, network without a sandbox", DEF("\"executor\":\"pool\",\"network\":\"none\""),
     BAD "network \"none\" needs pool.base"},
    {"bundle", DEF("\"bundle\":\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""), ERR_OK,
     NULL},
    {"bundle, short", DEF("\"bundle\":\"sha256:0123\""), BAD "bundle must be"},
    {"dependencies without a bundle", DEF("\"allowRuntimeDeps\":true"), BAD "allowRuntimeDeps goes with a bundle"},
    {"capabilities", DEF("\"requiresCapabilities\":[\"memory_limit\"]"), ERR_OK, NULL},
    {"capabilities, unknown", DEF("\"requiresCapabilities\":[\"flight\"]"), BAD "requiresCapabilities must be"},
    {"llmSettings", DEF("\"llmSettings\":{\"perModel\":{\"anthropic/m\":{\"temperature\":0.2}}}"), ERR_OK, NULL},
    {"llmSettings, no provider", DEF("\"llmSettings\":{\"perModel\":{\"m\":{}}}"), BAD "llmSettings.perModel"},
    {"llmSettings, more", DEF("\"llmSettings\":{\"perModel\":{},\"x\":1}"), BAD "llmSettings must be"},
    {"schema, a number", DEF("\"inputSchema\":1"), BAD "inputSchema must be"},
    {"strict without a schema", DEF("\"strictOutput\":true"), BAD "strictOutput goes with"},
    {"executor, unknown", DEF("\"executor\":\"Process\""), BAD "executor must be"},
    {"executor, empty", DEF("\"executor\":\"\""), BAD "executor must be"},
    {"executor, a number", DEF("\"executor\":1"), BAD "executor must be"},
    {"provider", DEF("\"provider\":\"mistral\""), ERR_OK, NULL},
    {"provider, unknown", DEF("\"provider\":\"nobody\""), ERR_RUNTIME_NOT_IMPLEMENTED, "provider \"nobody\""},
    {"provider, a list", DEF("\"provider\":[]"), BAD "provider must be"},
    /* command */
    {"no command", "{\"name\":\"a\"}", ERR_MISSING_FIELD, "command is required"},
    {"nothing at all", "{}", ERR_MISSING_FIELD, "command is required"},
    {"command, a string", "{\"command\":\"x\"}", BAD "command must be"},
    {"command, empty", "{\"command\":[]}", BAD "command must be"},
    {"command, null", "{\"command\":null}", BAD "command must be"},
    {"command, a number in it", "{\"command\":[\"x\",1]}", BAD "command: each word"},
    {"command, a NUL in it", "{\"command\":[\"x\",\"\\u0000\"]}", BAD "command: each word"},
    {"command, the first word empty", "{\"command\":[\"\"]}", BAD "command: each word"},
    {"command, a later word empty", "{\"command\":[\"x\",\"\"]}", ERR_OK, NULL},
    /* protocol, eventSource, stdin, workdir */
    {"protocol events", DEF("\"protocol\":\"events\""), ERR_OK, NULL},
    {"protocol text", DEF("\"protocol\":\"text\""), ERR_OK, NULL},
    {"protocol goose", DEF("\"protocol\":\"goose\""), ERR_OK, NULL},
    {"protocol claude", DEF("\"protocol\":\"claude\""), ERR_OK, NULL},
    {"protocol, unknown", DEF("\"protocol\":\"x\""), BAD "protocol must be \"events\" or \"text\""},
    {"protocol, true", DEF("\"protocol\":true"), BAD "protocol must be"},
    {"eventSource stdout", DEF("\"eventSource\":\"stdout\""), ERR_OK, NULL},
    {"eventSource remote", DEF("\"eventSource\":\"remote\""), ERR_OK, NULL},
    {"eventSource, unknown", DEF("\"eventSource\":\"\""), BAD "eventSource must be \"stdout\" or \"remote\""},
    {"stdin once", DEF("\"stdin\":\"once\""), ERR_OK, NULL},
    {"stdin open", DEF("\"stdin\":\"open\""), ERR_OK, NULL},
    {"pool, protocol", DEF("\"executor\":\"pool\",\"protocol\":\"text\""), BAD "protocol must be \"events\""},
    {"pool, remote", DEF("\"executor\":\"pool\",\"eventSource\":\"remote\""), BAD "eventSource must be"},
    {"pool, isolation without a sandbox",
     DEF("\"executor\":\"pool\",\"requiresCapabilities\":[\"timeout\",\"filesystem_isolation\"]"),
     BAD "requiresCapabilities: filesystem_isolation needs pool.base"},
    {"pool, isolation",
     DEF("\"executor\":\"pool\",\"pool\":{\"base\":\"sandbox\"},\"requiresCapabilities\":[\"filesystem_isolation\"]"),
     ERR_OK, NULL},
    {"stdin open with pool", DEF("\"executor\":\"pool\",\"stdin\":\"open\""), BAD "stdin \"open\""},
    {"stdin, unknown", DEF("\"stdin\":\"x\""), BAD "stdin must be"},
    {"workdir", DEF("\"workdir\":\"/srv\""), ERR_OK, NULL},
    {"workdir, relative", DEF("\"workdir\":\"srv\""), BAD "workdir must be"},
    {"workdir, a NUL", DEF("\"workdir\":\"/a\\u0000\""), BAD "workdir must be"},
    {"workdir, too long", DEF("\"workdir\":\"/" LONG1024 "\""), BAD "workdir must be"},
    /* env */
    {"env", DEF("\"env\":[{\"key\":\"A_1\",\"value\":\"\",\"description\":\"d\"},{\"key\":\"_b\",\"value\":\"x\"}]"),
     ERR_OK, NULL},
    {"env, an object", DEF("\"env\":{\"A\":\"b\"}"), BAD "env must be"},
    {"env, a string in it", DEF("\"env\":[\"A=b\"]"), BAD "env: each must be"},
    {"env, no value", DEF("\"env\":[{\"key\":\"A\"}]"), BAD "env: each must be"},
    {"env, no key", DEF("\"env\":[{\"value\":\"A\"}]"), BAD "env: each must be"},
    {"env, a number as a value", DEF("\"env\":[{\"key\":\"A\",\"value\":1}]"), BAD "env: the value of A"},
    {"env, a NUL in a value", DEF("\"env\":[{\"key\":\"A\",\"value\":\"\\u0000\"}]"), BAD "env: the value of A"},
    {"env, a description that is none", DEF("\"env\":[{\"key\":\"A\",\"value\":\"\",\"description\":1}]"),
     BAD "env: each must be"},
    {"env, an unknown field", DEF("\"env\":[{\"key\":\"A\",\"value\":\"\",\"hidden\":true}]"), ERR_UNKNOWN_FIELD,
     "env: \"hidden\""},
    {"env, a field twice", DEF("\"env\":[{\"key\":\"A\",\"value\":\"\",\"key\":\"B\"}]"), BAD "env: each must be"},
    {"env, a name twice", DEF("\"env\":[{\"key\":\"A\",\"value\":\"1\"},{\"key\":\"A\",\"value\":\"2\"}]"),
     BAD "env: A stands twice"},
    {"env, an empty name", DEF("\"env\":[{\"key\":\"\",\"value\":\"\"}]"), BAD "env: \"\" is no name"},
    {"env, a digit first", DEF("\"env\":[{\"key\":\"1A\",\"value\":\"\"}]"), BAD "env: \"1A\" is no name"},
    {"env, an equals sign", DEF("\"env\":[{\"key\":\"A=\",\"value\":\"\"}]"), BAD "env: \"A=\" is no name"},
    {"env, a name of ours", DEF("\"env\":[{\"key\":\"ERRAND_X\",\"value\":\"\"}]"), BAD "env: \"ERRAND_X\""},
    {"env, nearly a name of ours", DEF("\"env\":[{\"key\":\"ERRANDX\",\"value\":\"\"}]"), ERR_OK, NULL},
    /* secrets */
    {"secret",
     DEF("\"env\":[{\"key\":\"A\",\"secret\":\"K\",\"description\":\"d\"},{\"key\":\"B\",\"secret\":\"_k9@12\"}]"),
     ERR_OK, NULL},
    {"secret, longest", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"" LONG128 "\"}]"), ERR_OK, NULL},
    {"secret, too long", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"" LONG128 "x\"}]"), BAD "env: the secret of A"},
    {"secret and value", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"K\",\"value\":\"v\"}]"), BAD "env: A has both"},
    {"secret, empty", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"\"}]"), BAD "env: the secret of A"},
    {"secret, a number", DEF("\"env\":[{\"key\":\"A\",\"secret\":1}]"), BAD "env: the secret of A"},
    {"secret, a digit first", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"1K\"}]"), BAD "env: the secret of A"},
    {"secret, a colon", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"a:b\"}]"), BAD "env: the secret of A"},
    {"secret, version 0", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"K@0\"}]"), BAD "env: the secret of A"},
    {"secret, no version", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"K@\"}]"), BAD "env: the secret of A"},
    {"secret, a version too long", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"K@1234567890\"}]"),
     BAD "env: the secret of A"},
    {"secret, a version that is none", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"K@1x\"}]"),
     BAD "env: the secret of A"},
    {"secret, two versions", DEF("\"env\":[{\"key\":\"A\",\"secret\":\"K@1@2\"}]"), BAD "env: the secret of A"},
    {"secret under a name of ours", DEF("\"env\":[{\"key\":\"ERRAND_X\",\"secret\":\"K\"}]"), BAD "env: \"ERRAND_X\""},
/* dataSources */
#define DS(engine, name, fields) "{\"engine\":\"" engine "\",\"name\":\"" name "\",\"fields\":{" fields "}}"
#define V                        "{\"value\":\"v\"}"
    {"dataSources",
     DEF("\"dataSources\":[" DS("pg", "main-db", "\"host\":" V ",\"password\":{\"secret\":\"PW@2\"}") "]"), ERR_OK,
     NULL},
    {"dataSources, none", DEF("\"dataSources\":[]"), ERR_OK, NULL},
    {"dataSources, described",
     DEF("\"dataSources\":[" DS("pg", "a", "\"h\":{\"value\":\"\",\"description\":\"d\"}") "]"), ERR_OK, NULL},
    {"dataSources, an object", DEF("\"dataSources\":{}"), BAD "dataSources must be"},
    {"dataSources, a word", DEF("\"dataSources\":[\"pg\"]"), BAD "dataSources: each must be"},
    {"dataSources, no fields", DEF("\"dataSources\":[" DS("pg", "a", "") "]"), BAD "dataSources: each must be"},
    {"dataSources, no engine", DEF("\"dataSources\":[" DS("", "a", "\"h\":" V) "]"), BAD "dataSources: each must be"},
    {"dataSources, no name", DEF("\"dataSources\":[{\"engine\":\"pg\",\"fields\":{\"h\":" V "}}]"),
     BAD "dataSources: each must be"},
    {"dataSources, a long engine", DEF("\"dataSources\":[" DS(LONG128, "a", "\"h\":" V) "]"),
     BAD "dataSources: each must be"},
    {"dataSources, a line end in a name", DEF("\"dataSources\":[" DS("pg", "a\\n", "\"h\":" V) "]"),
     BAD "dataSources: each must be"},
    {"dataSources, an unknown field",
     DEF("\"dataSources\":[{\"engine\":\"pg\",\"name\":\"a\",\"fields\":{\"h\":" V "},\"url\":1}]"), ERR_UNKNOWN_FIELD,
     "dataSources: \"url\""},
    {"dataSources, a field that is a text", DEF("\"dataSources\":[" DS("pg", "a", "\"h\":\"v\"") "]"),
     BAD "dataSources: the field h"},
    {"dataSources, a field of nothing", DEF("\"dataSources\":[" DS("pg", "a", "\"h\":{}") "]"),
     BAD "dataSources: the field h"},
    {"dataSources, an empty name of a field", DEF("\"dataSources\":[" DS("pg", "a", "\"\":" V) "]"),
     BAD "dataSources: a field's name"},
    {"dataSources, a field of both",
     DEF("\"dataSources\":[" DS("pg", "a", "\"h\":{\"value\":\"\",\"secret\":\"K\"}") "]"),
     BAD "dataSources: h has both"},
    {"dataSources, more in a field", DEF("\"dataSources\":[" DS("pg", "a", "\"h\":{\"value\":\"\",\"x\":1}") "]"),
     ERR_UNKNOWN_FIELD, "dataSources: \"x\""},
    {"dataSources, no name of a secret", DEF("\"dataSources\":[" DS("pg", "a", "\"h\":{\"secret\":\"a-b\"}") "]"),
     BAD "dataSources: the secret of h"},
    {"dataSources, a NUL", DEF("\"dataSources\":[" DS("pg", "a", "\"h\":{\"value\":\"\\u0000\"}") "]"),
     BAD "dataSources: the value of h"},
    {"dataSources, a field twice", DEF("\"dataSources\":[" DS("pg", "a", "\"h\":" V ",\"h\":" V) "]"),
     BAD "dataSources: each must be"},
    {"collision of names", DEF("\"dataSources\":[" DS("pg", "a-b", "\"h\":" V) "," DS("pg", "a.b", "\"h\":" V) "]"),
     BAD "dataSources: h of pg a-b and h of pg a.b both become DS_PG_A_B__H"},
    {"collision of fields", DEF("\"dataSources\":[" DS("pg", "a", "\"user name\":" V ",\"USER_NAME\":" V) "]"),
     BAD "dataSources: user name of pg a and USER_NAME of pg a both become DS_PG_A__USER_NAME"},
    {"collision of engine and name",
     DEF("\"dataSources\":[" DS("a_b", "c", "\"h\":" V) "," DS("a", "b_c", "\"h\":" V) "]"),
     BAD "dataSources: h of a_b c and h of a b_c both become DS_A_B_C__H"},
    {"collision of name and field",
     DEF("\"dataSources\":[" DS("a", "b", "\"_h\":" V) "," DS("a", "b_", "\"h\":" V) "]"),
     BAD "dataSources: _h of a b and h of a b_ both become DS_A_B___H"},
    {"collision of the same twice",
     DEF("\"dataSources\":[" DS("pg", "a", "\"h\":" V) "," DS("pg", "a", "\"h\":" V) "]"),
     BAD "dataSources: h of pg a and h of pg a both become"},
    {"collision with env",
     DEF("\"env\":[{\"key\":\"DS_PG_A__H\",\"value\":\"\"}],\"dataSources\":[" DS("pg", "a", "\"h\":" V) "]"),
     BAD "dataSources: h of pg a becomes DS_PG_A__H, which env has too"},
    {"collision with env, the other way round",
     DEF("\"dataSources\":[" DS("pg", "a", "\"h\":" V) "],\"env\":[{\"key\":\"DS_PG_A__H\",\"secret\":\"K\"}]"),
     BAD "dataSources: h of pg a becomes DS_PG_A__H, which env has too"},
    {"nearly a collision",
     DEF("\"env\":[{\"key\":\"DS_PG_A__h\",\"value\":\"\"}],\"dataSources\":[" DS("pg", "a", "\"h\":" V) "]"), ERR_OK,
     NULL},
    /* backoff, atMostOnce */
    {"backoff", DEF("\"backoff\":{\"type\":\"fixed\",\"baseMs\":0,\"capMs\":604800000}"), ERR_OK, NULL},
    {"backoff, empty", DEF("\"backoff\":{}"), ERR_OK, NULL},
    {"backoff, a string", DEF("\"backoff\":\"fixed\""), BAD "backoff must be"},
    {"backoff, an unknown type", DEF("\"backoff\":{\"type\":\"linear\"}"), BAD "backoff.type must be"},
    {"backoff, an unknown field", DEF("\"backoff\":{\"jitter\":1}"), ERR_UNKNOWN_FIELD, "jitter"},
    {"backoff, a field twice", DEF("\"backoff\":{\"baseMs\":1,\"baseMs\":1}"), BAD "a field stands twice"},
    {"backoff, baseMs too large", DEF("\"backoff\":{\"baseMs\":86400001}"), BAD "baseMs must be"},
    {"backoff, capMs negative", DEF("\"backoff\":{\"capMs\":-1}"), BAD "capMs must be"},
    {"atMostOnce", DEF("\"atMostOnce\":true"), ERR_OK, NULL},
    {"atMostOnce, a number", DEF("\"atMostOnce\":1"), BAD "atMostOnce must be"},
    {"atMostOnce, a string", DEF("\"atMostOnce\":\"true\""), BAD "atMostOnce must be"},
};

static void test_every_case_of_a_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        struct arena a;
        struct definition def;
        struct fault fault = {ERR_OK, NULL};
        arena_init(&a, 8 << 20);
        bool ok = definition(&a, str_of(definitions[i].body), &def, &fault);
        check_case(&definitions[i], ok, &fault);
        arena_done(&a);
    }
}

/* ---- submissions ---- */

static const struct refusal_case submissions[] = {
    {"the least", "{\"agent\":\"a\"}", ERR_OK, NULL},
    {"no object", "\"a\"", BAD "a run must be an object"},
    {"not JSON", "{\"agent\":}", ERR_INVALID_JSON, "the body is not valid JSON"},
    {"an unknown field", RUN("\"agnet\":1"), ERR_UNKNOWN_FIELD, "agnet"},
    {"a concurrency key", RUN("\"concurrencyKey\":\"x\""), ERR_OK, NULL},
    {"an empty key", RUN("\"concurrencyKey\":\"\""), ERR_INVALID_FIELD, "concurrencyKey"},
    {"a key that is a number", RUN("\"concurrencyKey\":7"), ERR_INVALID_FIELD, "concurrencyKey"},
    {"a whole key", RUN("\"concurrencyKey\":{\"key\":\"a b\",\"limit\":3,\"onLimit\":\"replace\"}"), ERR_OK, NULL},
    {"limit 0", RUN("\"concurrencyKey\":{\"key\":\"a\",\"limit\":0}"), ERR_INVALID_FIELD, "concurrencyKey.limit"},
    {"a negative limit", RUN("\"concurrencyKey\":{\"key\":\"a\",\"limit\":-1}"), ERR_INVALID_FIELD,
     "concurrencyKey.limit"},
    {"a limit without a key", RUN("\"concurrencyKey\":{\"limit\":1}"), ERR_MISSING_FIELD, "concurrencyKey.key"},
    {"an unknown onLimit", RUN("\"concurrencyKey\":{\"key\":\"a\",\"onLimit\":\"drop\"}"), ERR_INVALID_FIELD,
     "concurrencyKey.onLimit"},
    {"an unknown field of a key", RUN("\"concurrencyKey\":{\"key\":\"a\",\"max\":1}"), ERR_UNKNOWN_FIELD,
     "concurrencyKey.max"},
    {"reject and a delay", RUN("\"delayMs\":5,\"concurrencyKey\":{\"key\":\"a\",\"onLimit\":\"reject\"}"),
     ERR_INVALID_FIELD, "concurrencyKey.onLimit \"reject\""},
    {"a rate", RUN("\"rateLimit\":{\"key\":\"a\",\"limit\":100,\"perMs\":1000,\"burst\":5}"), ERR_OK, NULL},
    {"a rate of 0", RUN("\"rateLimit\":{\"key\":\"a\",\"limit\":0}"), ERR_INVALID_FIELD, "rateLimit.limit"},
    {"a rate in no time", RUN("\"rateLimit\":{\"key\":\"a\",\"limit\":1,\"perMs\":0}"), ERR_INVALID_FIELD,
     "rateLimit.perMs"},
    {"a rate without a key", RUN("\"rateLimit\":{\"limit\":1}"), ERR_MISSING_FIELD, "rateLimit.key"},
    {"a rate without a limit", RUN("\"rateLimit\":{\"key\":\"a\"}"), ERR_MISSING_FIELD, "rateLimit.limit"},
    {"a negative delay", RUN("\"delayMs\":-1"), ERR_INVALID_FIELD, "delayMs"},
    {"a delay of ten years", RUN("\"delayMs\":315360000000"), ERR_INVALID_FIELD, "delayMs"},
    {"ten years from now", RUN("\"scheduledAt\":\"2036-11-21T00:00:00Z\""), ERR_INVALID_FIELD, "scheduledAt"},
    {"a start within no time", RUN("\"startWithinMs\":0"), ERR_INVALID_FIELD, "startWithinMs"},
    {"a stall of no time", RUN("\"stallMs\":0"), ERR_INVALID_FIELD, "stallMs"},
    {"a dependency that is no id", RUN("\"dependsOn\":[\"x\"]"), ERR_INVALID_FIELD, "dependsOn[0]"},
    {"a reference outside of a batch", RUN("\"dependsOn\":[\"#0\"]"), ERR_INVALID_FIELD, "dependsOn[0]"},
    {"a dependency twice", RUN("\"dependsOn\":[\"" PARENT "\",\"" PARENT "\"]"), ERR_INVALID_FIELD, "dependsOn: "},
    {"a dependency", RUN("\"dependsOn\":[\"" PARENT "\"],\"onDependencyFailure\":\"run\""), ERR_OK, NULL},
    {"no list of dependencies", RUN("\"dependsOn\":\"" PARENT "\""), ERR_INVALID_FIELD, "dependsOn"},
    {"an unknown policy", RUN("\"onDependencyFailure\":\"wait\""), ERR_INVALID_FIELD, "onDependencyFailure"},
    {"tags", RUN("\"requires\":[\"gpu\",\"region=lhr\"]"), ERR_OK, NULL},
    {"a tag twice", RUN("\"requires\":[\"gpu\",\"gpu\"]"), ERR_INVALID_FIELD, "requires"},
    {"a tag with a blank", RUN("\"requires\":[\"g pu\"]"), ERR_INVALID_FIELD, "requires"},
    {"an empty tag", RUN("\"requires\":[\"\"]"), ERR_INVALID_FIELD, "requires"},
    {"a webhook's id", RUN("\"webhook\":\"wh_x\""), ERR_OK, NULL},
    {"a webhook of its own",
     RUN("\"webhook\":{\"url\":\"https://example.com/\",\"secret\":\"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"),
     ERR_OK, NULL},
    {"webhook, a URL alone", RUN("\"webhook\":\"https://example.com/\""), BAD "webhook must be a webhook's id"},
    {"webhook, empty", RUN("\"webhook\":{}"), ERR_MISSING_FIELD, "webhook.url is required"},
    {"webhook without a secret", RUN("\"webhook\":{\"url\":\"https://example.com/\"}"), ERR_MISSING_FIELD,
     "webhook.secret is required"},
    {"webhook, a secret that is none", RUN("\"webhook\":{\"url\":\"https://example.com/\",\"secret\":\"x\"}"),
     BAD "webhook.secret must"},
    {"webhook, a field", RUN("\"webhook\":{\"events\":[]}"), ERR_UNKNOWN_FIELD, "webhook.events"},
    {"webhook, a number", RUN("\"webhook\":1"), BAD "webhook must be"},
    {"tags come later", RUN("\"tags\":[]"), ERR_UNKNOWN_FIELD, "tags"},
    {"an alias where there is none", "{\"agentId\":\"a\"}", ERR_UNKNOWN_FIELD, "agentId"},
    {"a field twice", RUN("\"agent\":\"a\""), BAD "a field stands twice"},
    /* agent */
    {"no agent", "{\"input\":1}", ERR_MISSING_FIELD, "agent is required"},
    {"agent, empty", "{\"agent\":\"\"}", BAD "agent must be"},
    {"agent, a path", "{\"agent\":\"../x\"}", BAD "agent must be"},
    {"agent, a number", "{\"agent\":7}", BAD "agent must be"},
    {"agent, null", "{\"agent\":null}", BAD "agent must be"},
    {"agent, a list", "{\"agent\":[\"a\"]}", BAD "agent must be"},
    {"agent, a definition", "{\"agent\":{" C "}}", ERR_OK, NULL},
    {"agent, a definition with a fault", "{\"agent\":{" C ",\"graceMs\":-1}}", BAD "agent.graceMs must be"},
    {"agent, a definition with an unknown field", "{\"agent\":{" C ",\"x\":1}}", ERR_UNKNOWN_FIELD, "agent.x"},
    {"agent, a definition without a command", "{\"agent\":{}}", ERR_MISSING_FIELD, "agent.command"},
    /* env */
    {"env", RUN("\"env\":{\"A\":\"\",\"b_2\":\"x\"}"), ERR_OK, NULL},
    {"env, a list", RUN("\"env\":[]"), BAD "env must be"},
    {"env, a secret", RUN("\"env\":{\"A\":{\"secret\":\"K\"}}"), BAD "env: the value of A"},
    {"env, a number", RUN("\"env\":{\"A\":1}"), BAD "env: the value of A"},
    {"env, a NUL", RUN("\"env\":{\"A\":\"\\u0000\"}"), BAD "env: the value of A"},
    {"env, a name twice", RUN("\"env\":{\"A\":\"1\",\"A\":\"2\"}"), BAD "env must be"},
    {"env, a name twice in escapes", RUN("\"env\":{\"A\":\"1\",\"\\u0041\":\"2\"}"), BAD "env must be"},
    {"env, a name of ours", RUN("\"env\":{\"ERRAND_RUNNER_TOKEN\":\"x\"}"), BAD "env: \"ERRAND_RUNNER_TOKEN\""},
    {"env, an equals sign", RUN("\"env\":{\"A=B\":\"x\"}"), BAD "env: \"A=B\""},
    /* queue, priority */
    {"queue", RUN("\"queue\":\"q1\""), ERR_OK, NULL},
    {"queue, empty", RUN("\"queue\":\"\""), BAD "queue must be"},
    {"priority high", RUN("\"priority\":\"high\""), ERR_OK, NULL},
    {"priority normal", RUN("\"priority\":\"normal\""), ERR_OK, NULL},
    {"priority low", RUN("\"priority\":\"low\""), ERR_OK, NULL},
    {"priority, unknown", RUN("\"priority\":\"urgent\""), BAD "priority must be \"high\" or \"normal\" or \"low\""},
    {"priority, a number", RUN("\"priority\":1"), BAD "priority must be"},
    {"priority, null", RUN("\"priority\":null"), BAD "priority must be"},
    /* times */
    {"scheduledAt", RUN("\"scheduledAt\":\"2026-01-02T03:04:05.678Z\""), ERR_OK, NULL},
    {"scheduledAt, no time", RUN("\"scheduledAt\":\"tomorrow\""), BAD "scheduledAt must be"},
    {"scheduledAt, a number", RUN("\"scheduledAt\":1767323045678"), BAD "scheduledAt must be"},
    {"scheduledAt, no such day", RUN("\"scheduledAt\":\"2026-02-30T00:00:00Z\""), BAD "scheduledAt must be"},
    {"scheduledAt, too far ahead", RUN("\"scheduledAt\":\"9999-01-01T00:00:00Z\""), BAD "scheduledAt must be within"},
    {"both", RUN("\"delayMs\":1,\"scheduledAt\":\"2026-01-02T03:04:05Z\""), BAD "delayMs and scheduledAt"},
    {"both, but no delay", RUN("\"delayMs\":0,\"scheduledAt\":\"2026-01-02T03:04:05Z\""), ERR_OK, NULL},
    /* labels */
    {"labels", RUN("\"labels\":{\"a\":\"\",\"b.c/d\":\"x:y\"}"), ERR_OK, NULL},
    {"labels, a list", RUN("\"labels\":[\"a\"]"), BAD "labels must be"},
    {"labels, a number", RUN("\"labels\":{\"a\":1}"), BAD "labels: each must be"},
    {"labels, an empty key", RUN("\"labels\":{\"\":\"x\"}"), BAD "labels: each must be"},
    {"labels, a colon in a key", RUN("\"labels\":{\"a:b\":\"x\"}"), BAD "labels: each must be"},
    {"labels, twice", RUN("\"labels\":{\"a\":\"1\",\"a\":\"1\"}"), BAD "labels must be"},
    /* parentRunId, sessionId */
    {"parentRunId", RUN("\"parentRunId\":\"" PARENT "\""), ERR_OK, NULL},
    {"parentRunId, no id", RUN("\"parentRunId\":\"x\""), BAD "parentRunId must be"},
    {"parentRunId, empty", RUN("\"parentRunId\":\"\""), BAD "parentRunId must be"},
    {"parentRunId, something behind it", RUN("\"parentRunId\":\"" PARENT "0\""), BAD "parentRunId must be"},
    {"sessionId", RUN("\"sessionId\":\"s\""), ERR_OK, NULL},
    {"sessionId, empty", RUN("\"sessionId\":\"\""), BAD "sessionId must be"},
    {"sessionId, a number", RUN("\"sessionId\":1"), BAD "sessionId must be"},
};

static void test_every_case_of_a_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(submissions); i++) {
        struct arena a;
        struct submission sub;
        struct fault fault = {ERR_OK, NULL};
        arena_init(&a, 8 << 20);
        bool ok = submission(&a, str_of(submissions[i].body), false, &sub, &fault);
        check_case(&submissions[i], ok, &fault);
        arena_done(&a);
    }
}

/* ---- ranges ---- */

/* Each integer field of both bodies: its ends pass, what is beyond them and what is no integer is refused. */
static void test_integers_keep_to_their_ranges(void **state)
{
    (void)state;
    static const struct {
        bool run;
        const char *field;
        int64_t min, max;
    } fields[] = {
        {false, "timeoutMs", 1, LIMIT_RUN_TIMEOUT_MS}, {false, "graceMs", 0, LIMIT_GRACE_MS},
        {false, "maxAttempts", 1, LIMIT_ATTEMPTS},     {true, "delayMs", 0, (int64_t)LIMIT_DELAY_MS},
        {true, "timeoutMs", 1, LIMIT_RUN_TIMEOUT_MS},  {true, "maxAttempts", 1, LIMIT_ATTEMPTS},
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        char values[11][40] = {"\"1\"", "null", "true", "[1]", "1.5", "1e300", "18446744073709551617"};
        snprintf(values[7], sizeof values[7], "%lld", (long long)fields[i].min - 1);
        snprintf(values[8], sizeof values[8], "%lld", (long long)fields[i].max + 1);
        snprintf(values[9], sizeof values[9], "%lld", (long long)fields[i].min); /* from here on good */
        snprintf(values[10], sizeof values[10], "%lld.0", (long long)fields[i].max);
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            char body[640];
            struct arena a;
            struct definition def;
            struct submission sub;
            struct fault fault = {ERR_OK, NULL};
            snprintf(body, sizeof body, "{%s,\"%s\":%s}", fields[i].run ? "\"agent\":\"a\"" : C, fields[i].field,
                     values[v]);
            arena_init(&a, 8 << 20);
            bool ok = fields[i].run ? submission(&a, str_of(body), false, &sub, &fault)
                                    : definition(&a, str_of(body), &def, &fault);
            struct refusal_case one = {body, body, v >= 9 ? ERR_OK : ERR_INVALID_FIELD, fields[i].field};
            check_case(&one, ok, &fault);
            arena_done(&a);
        }
    }
}

/* `n` items, each with its number between before and after, all between head and tail. */
static void build(struct strbuf *out, const char *head, int n, const char *before, const char *after, const char *tail)
{
    strbuf_init(out, 8 << 20);
    strbuf_addz(out, head);
    for (int i = 0; i < n; i++)
        strbuf_addf(out, "%s%s%d%s", i ? "," : "", before, i, after);
    strbuf_addz(out, tail);
}

static void test_counts_are_bounded(void **state)
{
    (void)state;
    static const struct {
        bool run;
        const char *head, *before, *after, *tail;
        int max;
        const char *detail;
    } lists[] = {
        {false, "{\"command\":[", "\"", "\"", "]}", LIMIT_COMMAND, "command must be"},
        {false, "{" C ",\"env\":[", "{\"key\":\"K", "\",\"value\":\"\"}", "]}", LIMIT_ENV_COUNT, "env must be"},
        {true, "{\"agent\":\"a\",\"env\":{", "\"K", "\":\"\"", "}}", LIMIT_ENV_COUNT, "env must be"},
        {true, "{\"agent\":\"a\",\"labels\":{", "\"k", "\":\"\"", "}}", LIMIT_LABELS, "labels must be"},
    };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (int more = 0; more < 2; more++) {
            struct arena a;
            struct strbuf body;
            struct definition def;
            struct submission sub;
            struct fault fault = {ERR_OK, NULL};
            build(&body, lists[i].head, lists[i].max + more, lists[i].before, lists[i].after, lists[i].tail);
            arena_init(&a, 8 << 20);
            bool ok = lists[i].run ? submission(&a, strbuf_str(&body), false, &sub, &fault)
                                   : definition(&a, strbuf_str(&body), &def, &fault);
            struct refusal_case one = {lists[i].head, "", more ? ERR_INVALID_FIELD : ERR_OK, lists[i].detail};
            check_case(&one, ok, &fault);
            arena_done(&a);
            strbuf_done(&body);
        }
}

/* head, then len bytes 'x', then tail. */
static void stretch(struct strbuf *out, const char *head, size_t len, const char *tail)
{
    strbuf_init(out, 8 << 20);
    strbuf_addz(out, head);
    for (size_t i = 0; i < len; i++)
        strbuf_addc(out, 'x');
    strbuf_addz(out, tail);
}

static void test_sizes_are_bounded(void **state)
{
    (void)state;
    static const struct {
        bool run;
        const char *head, *tail;
        size_t max;
        enum err err;
        const char *detail;
    } sizes[] = {
        {true, "{\"agent\":\"a\",\"input\":\"", "\"}", LIMIT_INPUT - 2, ERR_BODY_TOO_LARGE, "input must be"},
        {true, "{\"agent\":\"a\",\"env\":{\"K\":\"", "\"}}", LIMIT_ENV_BYTES - 1, ERR_INVALID_FIELD, "env must be"},
        {true, "{\"agent\":\"a\",\"env\":{\"", "\":\"\"}}", 256, ERR_INVALID_FIELD, "env: "},
        {true, "{\"agent\":\"a\",\"labels\":{\"k\":\"", "\"}}", LIMIT_LABEL_BYTES, ERR_INVALID_FIELD, "labels: each"},
        {true, "{\"agent\":\"a\",\"labels\":{\"", "\":\"\"}}", LIMIT_LABEL_BYTES, ERR_INVALID_FIELD, "labels: each"},
        {true, "{\"agent\":\"a\",\"sessionId\":\"", "\"}", 256, ERR_INVALID_FIELD, "sessionId must be"},
        {true, "{\"agent\":\"", "\"}", LIMIT_NAME, ERR_INVALID_FIELD, "agent must be"},
        {false, "{" C ",\"workdir\":\"/", "\"}", 1023, ERR_INVALID_FIELD, "workdir must be"},
        {false, "{" C ",\"env\":[{\"key\":\"K\",\"value\":\"", "\"}]}", LIMIT_ENV_BYTES - 1, ERR_INVALID_FIELD,
         "env must be"},
    };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t more = 0; more < 2; more++) {
            struct arena a;
            struct strbuf body;
            struct definition def;
            struct submission sub;
            struct fault fault = {ERR_OK, NULL};
            stretch(&body, sizes[i].head, sizes[i].max + more, sizes[i].tail);
            arena_init(&a, 16 << 20);
            bool ok = sizes[i].run ? submission(&a, strbuf_str(&body), false, &sub, &fault)
                                   : definition(&a, strbuf_str(&body), &def, &fault);
            struct refusal_case one = {sizes[i].head, "", more ? sizes[i].err : ERR_OK, sizes[i].detail};
            check_case(&one, ok, &fault);
            arena_done(&a);
            strbuf_done(&body);
        }
}

static void test_a_definition_is_at_most_64_kib_as_stored(void **state)
{
    (void)state;
    for (size_t len = 60000; len <= 70000; len += 10000) {
        struct arena a;
        struct strbuf body;
        struct definition def = {.field_count = 0};
        struct fault fault = {ERR_OK, NULL};
        stretch(&body, "{\"command\":[\"x\",\"", len, "\"]}");
        arena_init(&a, 16 << 20);
        assert_int_equal(definition(&a, strbuf_str(&body), &def, &fault), len == 60000);
        if (len > 60000) {
            assert_int_equal(fault.err, ERR_INVALID_FIELD);
            assert_int_equal(def.field_count, 0); /* untouched */
        }
        arena_done(&a);
        strbuf_done(&body);
    }
}

/* ---- what becomes of good ones ---- */

static struct str field_of(const struct definition *def, const char *name)
{
    for (size_t i = 0; i + 1 < def->field_count; i += 2)
        if (str_eqz(def->fields[i], name))
            return def->fields[i + 1];
    return STR("(none)");
}

static void test_the_defaults_of_a_definition_are_filled_in(void **state)
{
    (void)state;
    static const char *const defaults[][2] = {
        {"queue", "default"}, {"timeoutMs", "3600000"},       {"graceMs", "10000"},      {"maxAttempts", "1"},
        {"atMostOnce", "0"},  {"backoffType", "exponential"}, {"backoffBaseMs", "1000"}, {"backoffCapMs", "300000"},
        {"source", "stdout"}, {"executor", "process"},
    };
    struct arena a;
    struct definition def;
    struct fault fault;
    arena_init(&a, 1 << 20);
    assert_true(definition(&a, STR("{" C "}"), &def, &fault));
    assert_true(str_eqz(
        def.json,
        "{\"name\":\"\",\"executor\":\"process\",\"command\":[\"x\"],\"protocol\":\"events\",\"eventSource\":"
        "\"stdout\","
        "\"env\":[],\"stdin\":\"once\",\"timeoutMs\":3600000,\"graceMs\":10000,\"maxAttempts\":1,\"atMostOnce\":false,"
        "\"backoff\":{\"type\":\"exponential\",\"baseMs\":1000,\"capMs\":300000},\"queue\":\"default\"}"));
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
        if (!str_eqz(field_of(&def, defaults[i][0]), defaults[i][1]))
            fail_msg("%s: %.*s", defaults[i][0], STR_ARG(field_of(&def, defaults[i][0])));
    assert_true(str_eq(field_of(&def, "json"), def.json));
    arena_done(&a);
}

static void test_what_a_definition_says_is_kept(void **state)
{
    (void)state;
    struct arena a;
    struct definition def;
    struct fault fault;
    arena_init(&a, 1 << 20);
    assert_true(definition(
        &a,
        STR("{\"queue\":\"q\",\"backoff\":{\"capMs\":7,\"type\":\"fixed\",\"baseMs\":5},\"atMostOnce\":true,"
            "\"maxAttempts\":3,\"graceMs\":0,\"timeoutMs\":1e3,\"provider\":\"openai\",\"stdin\":\"once\","
            "\"env\":[ {\"value\":\"\\u00fc\",\"key\":\"A\"} ],\"workdir\":\"/srv\",\"eventSource\":\"remote\","
            "\"protocol\":\"text\",\"command\":[ \"a b\" , \"\\n\" ],\"executor\":\"process\",\"name\":\"n\"}"),
        &def, &fault));
    assert_true(str_eqz(
        def.json,
        "{\"name\":\"n\",\"executor\":\"process\",\"command\":[\"a b\",\"\\n\"],\"protocol\":\"text\",\"eventSource\":"
        "\"remote\",\"workdir\":\"/"
        "srv\",\"env\":[{\"value\":\"\\u00fc\",\"key\":\"A\"}],\"stdin\":\"once\",\"provider\":"
        "\"openai\",\"timeoutMs\":1000,\"graceMs\":0,\"maxAttempts\":3,\"atMostOnce\":true,\"backoff\":{\"type\":"
        "\"fixed\",\"baseMs\":5,\"capMs\":7},\"queue\":\"q\"}"));
    assert_true(str_eqz(def.name, "n") && str_eqz(field_of(&def, "source"), "remote"));
    assert_true(str_eqz(field_of(&def, "atMostOnce"), "1") && str_eqz(field_of(&def, "backoffBaseMs"), "5"));
    arena_done(&a);
}

static void test_equal_definitions_have_equal_digests(void **state)
{
    (void)state;
    struct arena a;
    struct definition one, two, three;
    struct fault fault;
    arena_init(&a, 1 << 20);
    assert_true(definition(&a, STR("{" C ",\"graceMs\":10000,\"protocol\":\"events\"}"), &one, &fault));
    assert_true(definition(&a, STR(" { \"protocol\":\"events\", \"command\" : [\"x\"] } "), &two, &fault));
    assert_true(definition(&a, STR("{" C ",\"graceMs\":10001}"), &three, &fault));
    assert_string_equal(one.digest, two.digest);
    assert_string_not_equal(one.digest, three.digest);
    assert_int_equal(strlen(one.digest), 64);
    arena_done(&a);
}

static void test_the_paths_name_is_the_definitions(void **state)
{
    (void)state;
    struct arena a;
    struct definition def;
    struct fault fault;
    const struct json *root;
    arena_init(&a, 1 << 20);
    assert_true(validate_body(&a, STR("{" C ",\"name\":\"n\"}"), &root, &fault));
    assert_true(validate_definition(&a, root, STR("n"), "", &def, &fault));
    assert_false(validate_definition(&a, root, STR("m"), "", &def, &fault));
    assert_int_equal(fault.err, ERR_INVALID_FIELD);
    assert_true(str_starts(str_of(fault.detail), STR("name differs")));
    assert_true(validate_body(&a, STR("{" C "}"), &root, &fault));
    assert_true(validate_definition(&a, root, STR("m"), "", &def, &fault) && str_eqz(def.name, "m"));
    arena_done(&a);
}

static void test_what_a_run_says_is_kept(void **state)
{
    (void)state;
    struct arena a;
    struct submission s;
    struct fault fault;
    arena_init(&a, 1 << 20);
    assert_true(submission(&a, STR("{\"agent\":\"a\"}"), false, &s, &fault));
    assert_true(str_eqz(s.agent, "a") && !s.is_inline && str_eqz(s.input, "null") && str_eqz(s.priority, "normal"));
    assert_true(s.env.len == 0 && s.queue.len == 0 && s.labels.len == 0 && s.parent.len == 0 && s.session.len == 0);
    assert_true(s.delay_ms == 0 && s.scheduled_ms == 0 && s.timeout_ms == 0 && s.max_attempts == 0);
    assert_true(
        submission(&a,
                   STR("{\"agent\":{" C ",\"name\":\"n\"},\"input\":{ \"a\" : [1.0] },\"env\":{ \"A\":\"b\"},"
                       "\"queue\":\"q\",\"priority\":\"low\",\"delayMs\":5,\"timeoutMs\":6,\"maxAttempts\":7,"
                       "\"labels\":{ \"\\u00fc\" : \"\\/\" },\"parentRunId\":\"" PARENT "\",\"sessionId\":\"s\"}"),
                   false, &s, &fault));
    assert_true(str_eqz(s.agent, "n") && s.is_inline && str_eqz(s.def.name, "n") && s.def.field_count > 0);
    assert_true(str_eqz(s.input, "{\"a\":[1.0]}") && str_eqz(s.env, "{\"A\":\"b\"}") && str_eqz(s.queue, "q"));
    assert_true(str_eqz(s.priority, "low") && s.delay_ms == 5 && s.timeout_ms == 6 && s.max_attempts == 7);
    assert_true(str_eqz(s.labels, "{\"\xc3\xbc\":\"/\"}")); /* with our own escapes: the list filter compares text */
    assert_true(str_eqz(s.parent, PARENT) && str_eqz(s.session, "s"));
    assert_true(submission(&a, STR("{\"agent\":\"a\",\"input\":null,\"scheduledAt\":\"1970-01-01T00:00:00Z\"}"), false,
                           &s, &fault));
    assert_int_equal(s.scheduled_ms, 1); /* 0 would mean none */
    arena_done(&a);
}

static int64_t at_2026(void)
{
    return INT64_C(1767225600000000); /* 2026-01-01T00:00:00Z, in microseconds */
}

static void test_a_scheduled_time_is_within_a_year_from_now(void **state)
{
    (void)state;
    struct arena a;
    struct submission s;
    struct fault fault;
    arena_init(&a, 1 << 20);
    clock_set_source(at_2026, NULL);
    bool last = submission(&a, STR(RUN("\"scheduledAt\":\"2027-01-01T00:00:00.000Z\"")), false, &s, &fault);
    int64_t ms = last ? s.scheduled_ms : 0;
    bool beyond = submission(&a, STR(RUN("\"scheduledAt\":\"2027-01-01T00:00:00.001Z\"")), false, &s, &fault);
    clock_set_source(NULL, NULL);
    assert_true(last && ms == INT64_C(1798761600000) && !beyond);
    arena_done(&a);
}

/* ---- aliases ---- */

static void test_aliases_stand_for_their_fields(void **state)
{
    (void)state;
    struct arena a;
    struct submission s;
    struct fault fault;
    arena_init(&a, 1 << 20);
    assert_true(
        submission(&a, STR("{\"agentId\":\"a\",\"inputDict\":{\"x\":1},\"envVars\":{\"A\":\"b\"}}"), true, &s, &fault));
    assert_true(str_eqz(s.agent, "a") && str_eqz(s.input, "{\"x\":1}") && str_eqz(s.env, "{\"A\":\"b\"}"));
    assert_true(submission(&a, STR("{\"agent\":\"a\",\"input\":1}"), true, &s, &fault)); /* both names are taken */
    assert_false(submission(&a, STR("{\"agentId\":\"a\",\"temperature\":1}"), true, &s, &fault));
    assert_true(fault.err == ERR_UNKNOWN_FIELD && str_starts(str_of(fault.detail), STR("temperature")));
    assert_false(submission(&a, STR("{\"inputDict\":{}}"), true, &s, &fault));
    assert_int_equal(fault.err, ERR_MISSING_FIELD);
    arena_done(&a);
}

static void test_a_field_and_its_alias_exclude_each_other(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"agent\":\"a\",\"agentId\":\"b\"}",
        "{\"agent\":{" C "},\"agentId\":\"b\"}",
        "{\"agentId\":\"a\",\"input\":1,\"inputDict\":2}",
        "{\"agentId\":\"a\",\"env\":{},\"envVars\":{}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct arena a;
        struct submission s;
        struct fault fault = {ERR_OK, NULL};
        arena_init(&a, 1 << 20);
        if (submission(&a, str_of(bodies[i]), true, &s, &fault))
            fail_msg("%s passes", bodies[i]);
        assert_int_equal(fault.err, ERR_INVALID_FIELD);
        arena_done(&a);
    }
}

static void test_a_refusal_names_where_it_stands(void **state)
{
    (void)state;
    struct arena a;
    struct submission s = {.delay_ms = -7};
    struct fault fault;
    const struct json *root;
    arena_init(&a, 1 << 20);
    assert_true(validate_body(&a, STR(RUN("\"priority\":7")), &root, &fault));
    assert_false(validate_submission(&a, root, "runs[3].", false, &s, &fault));
    assert_true(str_starts(str_of(fault.detail), STR("runs[3].priority must be")));
    assert_int_equal(s.delay_ms, -7); /* untouched */
    assert_true(validate_body(&a, STR("{\"agent\":{" C ",\"graceMs\":7.5}}"), &root, &fault));
    assert_false(validate_submission(&a, root, "runs[0].", false, &s, &fault));
    assert_true(str_starts(str_of(fault.detail), STR("runs[0].agent.graceMs must be")));
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_case_of_a_definition),
        cmocka_unit_test(test_every_case_of_a_run),
        cmocka_unit_test(test_integers_keep_to_their_ranges),
        cmocka_unit_test(test_counts_are_bounded),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_a_definition_is_at_most_64_kib_as_stored),
        cmocka_unit_test(test_the_defaults_of_a_definition_are_filled_in),
        cmocka_unit_test(test_what_a_definition_says_is_kept),
        cmocka_unit_test(test_equal_definitions_have_equal_digests),
        cmocka_unit_test(test_the_paths_name_is_the_definitions),
        cmocka_unit_test(test_what_a_run_says_is_kept),
        cmocka_unit_test(test_a_scheduled_time_is_within_a_year_from_now),
        cmocka_unit_test(test_aliases_stand_for_their_fields),
        cmocka_unit_test(test_a_field_and_its_alias_exclude_each_other),
        cmocka_unit_test(test_a_refusal_names_where_it_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
