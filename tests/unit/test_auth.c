/* Who may ask what: credentials against the four kinds of routes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/auth.h"
#include "common/clock.h"
#include "common/crypto.h"

#define KEY     "root-key-of-at-least-32-characters-000"
#define RUN     "00aabbcc-0000-4000-8000-000000000001"
#define RUN_2   "00aabbcc-0000-4000-8000-000000000002"
#define SECRET  "not very random"
#define TOKEN_A "ert_3_0123456789012345678901234567890123456789abc"

static int64_t now_ms = 1767322984005;

static int64_t fake_us(void)
{
    return now_ms * 1000;
}

/* One request to a route of that kind. */
struct asked {
    struct config config;
    struct node node;
    struct route route;
    struct http_header headers[4];
    struct http_req req;
    struct call call;
    const char *detail;
};

static struct asked *asked;

static int start(void **state)
{
    (void)state;
    clock_set_source(fake_us, NULL);
    asked = calloc(1, sizeof *asked);
    if (!asked || crypto_start())
        return -1;
    asked->config.root_key = KEY;
    asked->node.config = &asked->config;
    snprintf(asked->node.secret, sizeof asked->node.secret, SECRET);
    arena_init(&asked->req.arena, 65536);
    asked->call = (struct call){.req = &asked->req, .node = &asked->node, .route = &asked->route};
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_done(&asked->req.arena);
    free(asked);
    clock_set_source(NULL, NULL);
    return 0;
}

static void header(const char *name, const char *value)
{
    asked->req.headers = asked->headers;
    asked->headers[asked->req.header_count++] = (struct http_header){str_of(name), str_of(value)};
}

static enum err check(enum route_auth auth)
{
    asked->route.auth = auth;
    asked->req.params[0] = STR(RUN);
    asked->call = (struct call){.req = &asked->req, .node = &asked->node, .route = &asked->route};
    asked->detail = NULL;
    enum err err = auth_check(&asked->call, &asked->detail);
    assert_true(!err == !asked->detail); /* a refusal says why, and nothing else does */
    asked->req.header_count = 0;
    asked->req.query = STR_NONE;
    return err;
}

static enum err check_with(enum route_auth auth, const char *name, const char *value)
{
    header(name, value);
    return check(auth);
}

static enum err check_query(enum route_auth auth, const char *query)
{
    asked->req.query = str_of(query);
    return check(auth);
}

static void test_the_root_key_opens_in_both_headers(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"Authorization", "Bearer " KEY},
                                          {"authorization", "bearer " KEY},
                                          {"AUTHORIZATION", "BEARER   " KEY},
                                          {"X-API-Key", KEY},
                                          {"x-api-key", KEY}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        for (int auth = AUTH_KEY; auth <= AUTH_STREAM; auth++) {
            assert_int_equal(check_with((enum route_auth)auth, good[i][0], good[i][1]), ERR_OK);
            assert_true(str_eqz(asked->call.workspace, "default"));
            assert_true(str_eqz(asked->call.created_by, "root"));
        }
    }
}

static void test_anything_else_is_unauthorized(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"Authorization", ""},
                                         {"Authorization", KEY},
                                         {"Authorization", "Bearer"},
                                         {"Authorization", "Bearer "},
                                         {"Authorization", "Basic " KEY},
                                         {"Authorization", "Bearer " KEY "x"},
                                         {"Authorization", "Bearer root-key-of-at-least-32-characters-00"},
                                         {"Authorization", "Bearer ROOT-KEY-of-at-least-32-characters-000"},
                                         {"Authorization", "Bearer " KEY " "},
                                         {"X-API-Key", ""},
                                         {"X-API-Key", "Bearer " KEY},
                                         {"X-API-Key", "x"},
                                         {"Cookie", KEY}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (int auth = AUTH_KEY; auth <= AUTH_RUNNER; auth++)
            assert_int_equal(check_with((enum route_auth)auth, bad[i][0], bad[i][1]), ERR_UNAUTHORIZED);
    assert_int_equal(check(AUTH_KEY), ERR_UNAUTHORIZED);
    assert_int_equal(check(AUTH_STREAM), ERR_UNAUTHORIZED);
    assert_int_equal(check(AUTH_RUNNER), ERR_UNAUTHORIZED);
    assert_int_equal(check(AUTH_NONE), ERR_OK);
    /* A wrong Authorization is not made good by the other header. */
    header("Authorization", "Bearer wrong");
    header("X-API-Key", KEY);
    assert_int_equal(check(AUTH_KEY), ERR_UNAUTHORIZED);
    header("Authorization", "Basic wrong");
    header("X-API-Key", KEY);
    assert_int_equal(check(AUTH_KEY), ERR_UNAUTHORIZED);
    header("Authorization", "");
    header("X-API-Key", KEY);
    assert_int_equal(check(AUTH_KEY), ERR_UNAUTHORIZED);
}

static void test_without_a_root_key_nobody_is_let_in(void **state)
{
    (void)state;
    asked->config.root_key = "";
    for (int auth = AUTH_KEY; auth <= AUTH_RUNNER; auth++) {
        assert_int_equal(check((enum route_auth)auth), ERR_UNAUTHORIZED);
        assert_int_equal(check_with((enum route_auth)auth, "X-API-Key", ""), ERR_UNAUTHORIZED);
        assert_int_equal(check_with((enum route_auth)auth, "Authorization", "Bearer "), ERR_UNAUTHORIZED);
    }
}

static void test_a_workspace_is_named_in_its_header(void **state)
{
    (void)state;
    char longest[LIMIT_NAME + 2];
    memset(longest, 'w', sizeof longest);
    longest[LIMIT_NAME] = 0;
    const char *const good[] = {"a", "team-1", "Team.a_b", "0", longest};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        header("X-API-Key", KEY);
        header("X-Errand-Workspace", good[i]);
        assert_int_equal(check(AUTH_KEY), ERR_OK);
        assert_true(str_eqz(asked->call.workspace, good[i]));
    }
    longest[LIMIT_NAME] = 'w';
    longest[LIMIT_NAME + 1] = 0;
    const char *const bad[] = {"", ".", ".a", "-a", "_a", "a b", "a/b", "a:b", "a{1}", "\xc3\xbc", "a~b", longest};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        header("X-API-Key", KEY);
        header("X-Errand-Workspace", bad[i]);
        assert_int_equal(check(AUTH_KEY), ERR_INVALID_PARAMETER);
        header("X-API-Key", "wrong"); /* whoever has no key learns nothing of the rest */
        header("X-Errand-Workspace", bad[i]);
        assert_int_equal(check(AUTH_KEY), ERR_UNAUTHORIZED);
    }
}

static void test_a_runner_token_opens_its_own_routes_and_no_other(void **state)
{
    (void)state;
    assert_int_equal(check_with(AUTH_RUNNER, "Authorization", "Bearer " TOKEN_A), ERR_OK);
    assert_true(str_eqz(asked->call.runner_token, TOKEN_A));
    assert_int_equal(asked->call.runner_attempt, 3);
    assert_int_equal(check_with(AUTH_RUNNER, "X-API-Key", TOKEN_A), ERR_OK);
    assert_int_equal(check_with(AUTH_KEY, "Authorization", "Bearer " TOKEN_A), ERR_FORBIDDEN);
    assert_int_equal(check_with(AUTH_STREAM, "Authorization", "Bearer " TOKEN_A), ERR_FORBIDDEN);
    assert_int_equal(check_with(AUTH_RUNNER, "Authorization", "Bearer " KEY), ERR_FORBIDDEN);
}

static void test_what_has_not_the_form_of_a_runner_token_is_unauthorized(void **state)
{
    (void)state;
    static const char *const bad[] = {"ert_",
                                      "ert__0123456789012345678901234567890123456789abc",
                                      "ert_3",
                                      "ert_3_",
                                      "ert_3_012345678901234567890123456789012345678900",
                                      "ert_3_0123456789012345678901234567890123456789abcd",
                                      "ert_x_0123456789012345678901234567890123456789abc",
                                      "ert_-3_0123456789012345678901234567890123456789abc",
                                      "ert_1234567890_0123456789012345678901234567890123456789abc",
                                      "ERT_3_0123456789012345678901234567890123456789abc",
                                      "xert_3_0123456789012345678901234567890123456789abc"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(check_with(AUTH_RUNNER, "X-API-Key", bad[i]), ERR_UNAUTHORIZED);
        assert_true(asked->call.runner_token.len == 0 && asked->call.runner_attempt == 0);
    }
}

/* `token=…` for that run, into buf. */
static const char *stream_query(char buf[512], const char *workspace, const char *run)
{
    struct call c = {
        .req = &asked->req, .node = &asked->node, .workspace = str_of(workspace), .created_by = STR("root")};
    struct str token = auth_stream_token(&c, str_of(run));
    assert_true(token.len > 0);
    snprintf(buf, 512, "token=%.*s", STR_ARG(token));
    return buf;
}

static void test_a_stream_token_opens_its_runs_stream_for_an_hour(void **state)
{
    (void)state;
    char query[512];
    stream_query(query, "team-1", RUN);
    assert_int_equal(check_query(AUTH_STREAM, query), ERR_OK);
    assert_true(str_eqz(asked->call.workspace, "team-1"));
    assert_true(str_eqz(asked->call.created_by, "root"));
    assert_true(asked->call.scopes == SCOPE_BIT(SCOPE_RUNS_READ));
    assert_int_equal(check_query(AUTH_KEY, query), ERR_UNAUTHORIZED);
    assert_int_equal(check_query(AUTH_RUNNER, query), ERR_UNAUTHORIZED);
    now_ms += 3599999;
    assert_int_equal(check_query(AUTH_STREAM, query), ERR_OK);
    now_ms += 1;
    assert_int_equal(check_query(AUTH_STREAM, query), ERR_UNAUTHORIZED);
    assert_int_equal(check_query(AUTH_STREAM, stream_query(query, "team-1", RUN_2)), ERR_UNAUTHORIZED);
}

static void test_a_stream_token_with_any_byte_changed_opens_nothing(void **state)
{
    (void)state;
    char query[512];
    stream_query(query, "team-1", RUN);
    size_t len = strlen(query);
    assert_int_equal(check_query(AUTH_STREAM, query), ERR_OK);
    for (size_t i = 6; i < len; i++) {
        char was = query[i];
        query[i] = was == '1' ? '2' : was == '~' ? '.' : '1';
        assert_int_equal(check_query(AUTH_STREAM, query), ERR_UNAUTHORIZED);
        query[i] = was;
    }
    for (size_t cut = 6; cut < len; cut++) {
        query[cut] = 0;
        assert_int_equal(check_query(AUTH_STREAM, query), ERR_UNAUTHORIZED);
        stream_query(query, "team-1", RUN);
    }
    static const char *const bad[] = {"token=",
                                      "token=~~",
                                      "token=1~a~",
                                      "token=~~~",
                                      "token=99999999999999~default~root~",
                                      "token=99999999999999~default~",
                                      "token=99999999999999999999~default~00",
                                      "token=%00~%00~%00",
                                      "token=%",
                                      "tokens=x",
                                      ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(check_query(AUTH_STREAM, bad[i]), ERR_UNAUTHORIZED);
}

static void test_a_node_of_another_secret_takes_no_such_token(void **state)
{
    (void)state;
    char query[512];
    stream_query(query, "team-1", RUN);
    snprintf(asked->node.secret, sizeof asked->node.secret, "another");
    assert_int_equal(check_query(AUTH_STREAM, query), ERR_UNAUTHORIZED);
    asked->node.secret[0] = 0; /* not read from Redis yet: makes none and takes none */
    assert_int_equal(check_query(AUTH_STREAM, query), ERR_UNAUTHORIZED);
    struct call c = {.req = &asked->req, .node = &asked->node, .workspace = STR("team-1"), .created_by = STR("root")};
    assert_int_equal(auth_stream_token(&c, STR(RUN)).len, 0);
    char forged[SHA256_HEX_LEN + 1];
    crypto_hmac_hex(STR_NONE, STR("stream 99999999999999 default root  " RUN), forged);
    snprintf(query, sizeof query, "token=99999999999999~default~root~~%s", forged);
    assert_int_equal(check_query(AUTH_STREAM, query), ERR_UNAUTHORIZED);
}

static void test_a_header_beats_the_token(void **state)
{
    (void)state;
    char query[512];
    stream_query(query, "team-1", RUN);
    asked->req.query = str_of(query);
    assert_int_equal(check_with(AUTH_STREAM, "X-API-Key", "wrong"), ERR_UNAUTHORIZED);
    asked->req.query = STR("token=wrong");
    assert_int_equal(check_with(AUTH_STREAM, "X-API-Key", KEY), ERR_OK);
    assert_true(str_eqz(asked->call.workspace, "default"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_root_key_opens_in_both_headers, start, end),
        cmocka_unit_test_setup_teardown(test_anything_else_is_unauthorized, start, end),
        cmocka_unit_test_setup_teardown(test_without_a_root_key_nobody_is_let_in, start, end),
        cmocka_unit_test_setup_teardown(test_a_workspace_is_named_in_its_header, start, end),
        cmocka_unit_test_setup_teardown(test_a_runner_token_opens_its_own_routes_and_no_other, start, end),
        cmocka_unit_test_setup_teardown(test_what_has_not_the_form_of_a_runner_token_is_unauthorized, start, end),
        cmocka_unit_test_setup_teardown(test_a_stream_token_opens_its_runs_stream_for_an_hour, start, end),
        cmocka_unit_test_setup_teardown(test_a_stream_token_with_any_byte_changed_opens_nothing, start, end),
        cmocka_unit_test_setup_teardown(test_a_node_of_another_secret_takes_no_such_token, start, end),
        cmocka_unit_test_setup_teardown(test_a_header_beats_the_token, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
