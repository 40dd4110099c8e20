/* Which requirements.txt may be given to pip: names and versions, and nothing that makes it do something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

#include "runner/bundle_requirements.h"

static void takes_names_and_versions(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",
        "# nothing\n\n",
        "requests\n",
        "requests==2.31.0",
        "Requests [security, socks] >= 2.8.1, == 2.8.* ; python_version < \"3.13\" and sys_platform == 'linux'\r\n",
        "zope.interface~=5.0\nx_y-z!=1.0,!=1.1 # why\n",
        "a (>=1.0)\n",
        "a==1.0+local.1\n",
        "a==1!2.0\n",
        "a==1.0 --hash=sha256:0123abcd --hash=sha256:4567\n",
        "a==1.0 \\\n    --hash=sha256:0123abcd \\\n    --hash=sha256:4567\nb\n",
        "a\\\n==1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int line;
        const char *fault = requirements_fault(str_of(good[i]), &line);
        if (fault)
            fail_msg("%s: %s", good[i], fault);
    }
}

static void refuses_everything_else(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line;
    } bad[] = {
        {"-e .\n", 1},
        {"ok\n  -r other.txt\n", 2},
        {"--index-url https://example.com\n", 1},
        {"--no-binary :all:\n", 1},
        {"-\\\n-no-binary=:all:\n", 1},
        {"ok\n\na --no-binary :all:\n", 3},
        {"a==1 --global-option=x\n", 1},
        {"a==1 --hash=sha256:00 --config-settings x\n", 1},
        {"a==1 --hash=\n", 1},
        {"a==1 --hash=x/y\n", 1},
        {"./x\n", 1},
        {"../x\n", 1},
        {"/etc/x\n", 1},
        {".\n", 1},
        {"a/b\n", 1},
        {"a @ https://example.com/a.whl\n", 1},
        {"a@file:///x\n", 1},
        {"git+https://example.com/x\n", 1},
        {"https://example.com/x.whl\n", 1},
        {"x.whl\n", 1},
        {"x.tar.gz\n", 1},
        {"x.ZIP\n", 1},
        {"${HOME}\n", 1},
        {"a==$X\n", 1},
        {"a[b\n", 1},
        {"\xc3\xa4\n", 1},
        {"a\rb\n", 1},
        {"ok\nb\\\n\\\n$\n", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int line = 0;
        if (!requirements_fault(str_of(bad[i].text), &line))
            fail_msg("taken: %s", bad[i].text);
        assert_int_equal(line, bad[i].line);
    }
    static char nul[] = "a\0b\n", huge[REQUIREMENTS_MAX + 2];
    int line;
    assert_non_null(requirements_fault((struct str){nul, 4}, &line));
    memset(huge, '\n', sizeof huge);
    assert_non_null(requirements_fault((struct str){huge, REQUIREMENTS_MAX + 1}, &line));
    assert_null(requirements_fault((struct str){huge, REQUIREMENTS_MAX}, &line));
}

static void knows_what_a_package_wants(void **state)
{
    (void)state;
    bool valid;
    assert_true(package_wants(STR("{\"dependencies\":{\"a\":\"1\"}}"), &valid) && valid);
    assert_true(package_wants(STR("{\"optionalDependencies\":{\"a\":\"1\"}}"), &valid) && valid);
    assert_true(package_wants(STR("{\"workspaces\":[\"x\"]}"), &valid) && valid);
    assert_true(!package_wants(STR("{\"type\":\"module\",\"dependencies\":{}}"), &valid) && valid);
    assert_true(!package_wants(STR("[]"), &valid) && !valid);
    assert_true(!package_wants(STR("no"), &valid) && !valid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_names_and_versions),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(knows_what_a_package_wants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
