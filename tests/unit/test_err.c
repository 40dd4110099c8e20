#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <ctype.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/err.h"

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        const char *code = err_code((enum err)e), *sentence = err_sentence((enum err)e);
        int status = err_status((enum err)e);
        assert_true(strlen(code) >= 2);
        for (const char *c = code; *c; c++)
            assert_true(islower((unsigned char)*c) || *c == '_');
        bool begins_with_a_field = strncmp(sentence, "seq ", 4) == 0 || strncmp(sentence, "tMs ", 4) == 0;
        assert_true(isupper((unsigned char)sentence[0]) || begins_with_a_field);
        assert_true(strlen(sentence) > 3 && sentence[strlen(sentence) - 1] != '.'); /* a title, not a paragraph */
        assert_true(e == ERR_OK ? status == 200 : status >= 400 && status <= 599);
    }
}

/* A client that repeats what can't succeed is as wrong as one that gives up on what can. */
static void test_what_is_the_callers_fault_is_not_retryable(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        int status = err_status((enum err)e);
        bool may_help =
            status == 408 || status == 429 || status == 503 || status == 504 || status == 507 || e == ERR_IO;
        assert_int_equal(err_retryable((enum err)e), may_help);
    }
}

static void test_each_code_is_one_errors_and_is_read_back(void **state)
{
    (void)state;
    for (int a = 0; a < ERR_COUNT; a++) {
        const char *code = err_code((enum err)a);
        /* The one code of two rows: of a batch in itself (400), and against what is stored (409), which is what scripts find. */
        if (a == ERR_T_MS_NOT_MONOTONIC) {
            assert_int_equal(err_from_code(str_of(code)), ERR_T_MS_CONFLICT);
            continue;
        }
        assert_int_equal(err_from_code(str_of(code)), a);
        for (int b = 0; b < a; b++)
            assert_true(b == ERR_T_MS_NOT_MONOTONIC || strcmp(code, err_code((enum err)b)) != 0);
    }
}

static void test_an_unknown_code_is_our_own_fault(void **state)
{
    (void)state;
    const struct str rows[] = {STR_NONE, STR("fence"), STR("fenced "), STR("FENCED"), STR("fenced\0")};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(err_from_code(rows[i]), ERR_INTERNAL);
}

static void test_a_broken_invariant_is_said_and_ends_the_program(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        invariant_broken("precondition: sky is blue", "sky.c", 12);
    }
    close(fds[1]);
    char said[4096];
    size_t len = 0;
    for (ssize_t n; len < sizeof said - 1 && (n = read(fds[0], said + len, sizeof said - 1 - len)) > 0;)
        len += (size_t)n;
    said[len] = 0;
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "sky.c:12: broken precondition: sky is blue\n"));
}

static void test_slices_compare_by_length_and_bytes(void **state)
{
    (void)state;
    assert_true(str_eq(STR_NONE, STR("")));
    assert_true(str_eqz(STR("a"), "a"));
    assert_false(str_eqz(STR("a"), "ab"));
    assert_false(str_eqz(STR("ab"), "a"));
    assert_false(str_eqz(STR("a\0"), "a"));
    assert_true(str_eqz(STR_NONE, NULL));
    assert_true(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR_NONE) &&
                str_starts(STR_NONE, STR_NONE));
    assert_false(str_starts(STR("ab"), STR("abc")));
    assert_false(str_starts(STR("xabc"), STR("ab")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_whole),
        cmocka_unit_test(test_what_is_the_callers_fault_is_not_retryable),
        cmocka_unit_test(test_each_code_is_one_errors_and_is_read_back),
        cmocka_unit_test(test_an_unknown_code_is_our_own_fault),
        cmocka_unit_test(test_a_broken_invariant_is_said_and_ends_the_program),
        cmocka_unit_test(test_slices_compare_by_length_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
