/* The CLI's command lines: options, durations, the word that was meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/options.h"

struct values {
    bool follow;
    const char *input;
    int64_t limit, delay_ms;
    struct option_list labels;
    const char *words[2];
    size_t word_count;
    bool help;
    char message[512];
};

/* Parses a line of words separated by single blanks. */
static enum err parse(const char *line, struct values *v)
{
    *v = (struct values){.limit = -7, .delay_ms = -7};
    const struct option table[] = {
        {.name = "follow", .letter = 'f', .type = OPTION_FLAG, .target = &v->follow},
        {.name = "input", .letter = 'i', .type = OPTION_STRING, .target = &v->input, .value = "JSON"},
        {.name = "limit", .type = OPTION_INT, .target = &v->limit, .value = "N", .min = -1, .max = 100},
        {.name = "delay", .type = OPTION_DURATION, .target = &v->delay_ms, .value = "TIME", .max = 3600000},
        {.name = "label", .letter = 'l', .type = OPTION_LIST, .target = &v->labels, .value = "K=V"},
    };
    static char words[512];
    char *argv[32];
    int argc = 0;
    strncpy(words, line, sizeof(words) - 1);
    for (char *w = words; *w && argc < 32;) {
        argv[argc++] = w;
        char *blank = strchr(w, ' ');
        if (!blank)
            break;
        *blank = '\0';
        w = blank + 1;
    }
    struct options o = {.table = table, .count = ARRAY_LEN(table), .words = v->words, .words_max = 2};
    struct strbuf message;
    strbuf_init(&message, 500);
    enum err err = options_parse(&o, argc, argv, &message);
    if (message.len)
        memcpy(v->message, message.ptr, message.len + 1);
    strbuf_done(&message);
    v->word_count = o.word_count;
    v->help = o.help;
    return err;
}

static void all_forms(void **state)
{
    (void)state;
    struct values v;
    assert_int_equal(parse("hello --follow --input={\"a\":1} --limit 5 --delay 2m -l a=1 --label b=2", &v), ERR_OK);
    assert_true(v.follow);
    assert_string_equal(v.input, "{\"a\":1}");
    assert_int_equal(v.limit, 5);
    assert_int_equal(v.delay_ms, 120000);
    assert_int_equal(v.labels.count, 2);
    assert_string_equal(v.labels.values[1], "b=2");
    assert_int_equal(v.word_count, 1);
    assert_string_equal(v.words[0], "hello");
    assert_int_equal(parse("-i - -f x", &v), ERR_OK);
    assert_string_equal(v.input, "-");
    assert_true(v.follow);
    assert_int_equal(parse("--limit -1", &v), ERR_OK);
    assert_int_equal(v.limit, -1);
    assert_int_equal(parse("-- --follow -x", &v), ERR_OK);
    assert_false(v.follow);
    assert_int_equal(v.word_count, 2);
    assert_string_equal(v.words[0], "--follow");
    assert_int_equal(parse("--nonsense-after --help", &v), ERR_INVALID_PARAMETER);
    assert_int_equal(parse("--help --nonsense", &v), ERR_OK);
    assert_true(v.help);
}

static void complaints(void **state)
{
    (void)state;
    static const struct {
        const char *line, *part;
    } cases[] = {
        {"--folow", "did you mean --follow?"},
        {"--lable a=b", "did you mean --label?"},
        {"--inp x", "did you mean --input?"},
        {"--zzzzzz", "unknown option '--zzzzzz'"},
        {"-x", "unknown option '-x'"},
        {"-fi x", "unknown option '-fi'"},
        {"--limit", "--limit needs a value"},
        {"--limit 101", "between -1 and 100"},
        {"--limit 5x", "whole number"},
        {"--limit +5", "whole number"},
        {"--limit 99999999999999999999", "whole number"},
        {"--delay 2x", "a time like"},
        {"--delay 2h", "between 0 and 3600000 ms"},
        {"--follow=yes", "takes no value"},
        {"a b c", "unexpected 'c'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct values v;
        assert_int_equal(parse(cases[i].line, &v), ERR_INVALID_PARAMETER);
        if (!strstr(v.message, cases[i].part))
            fail_msg("%s gave: %s", cases[i].line, v.message);
    }
    struct values v;
    assert_int_equal(parse("--zzzzzz", &v), ERR_INVALID_PARAMETER);
    assert_null(strstr(v.message, "did you mean"));
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: none */
    } cases[] = {{"5", 5000},      {"500ms", 500},  {"0", 0},          {"1.5s", 1500}, {"2m", 120000},
                 {"2min", 120000}, {"1h", 3600000}, {"7d", 604800000}, {"", -1},       {"-5", -1},
                 {"5x", -1},       {"0x10", -1},    {"1e3", -1},       {"inf", -1},    {"nan", -1},
                 {" 5", -1},       {"366d", -1},    {"5 s", -1},       {"s", -1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ms = -1;
        bool ok = duration_parse(cases[i].text, &ms);
        if (ok != (cases[i].ms >= 0) || ms != cases[i].ms)
            fail_msg("'%s' gave %d, %lld", cases[i].text, ok, (long long)ms);
    }
}

static void nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"run", "follow", "show", "list", "stop", "agents"};
    assert_string_equal(nearest_word("rnu", words, 6), "run");
    assert_string_equal(nearest_word("fol", words, 6), "follow");
    assert_string_equal(nearest_word("agnets", words, 6), "agents");
    assert_string_equal(nearest_word("shwo", words, 6), "show");
    assert_null(nearest_word("zebra", words, 6));
    assert_null(nearest_word("", words, 6));
    char longer[300];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_null(nearest_word(longer, words, 6));
}

static void every_command_is_whole(void **state)
{
    (void)state;
    size_t n = 0;
    for (const struct command *c = cli_commands; c->name; c++, n++) {
        assert_non_null(c->run);
        assert_non_null(c->arguments);
        assert_true(strlen(c->summary) > 5);
        assert_non_null(strstr(c->text, "Example"));
        assert_non_null(strstr(c->text, c->name));
    }
    assert_int_equal(n, 32);
}

static void exit_statuses(void **state)
{
    (void)state;
    assert_int_equal(exit_of_status(STR("success")), 0);
    assert_int_equal(exit_of_status(STR("error")), 1);
    assert_int_equal(exit_of_status(STR("stopped")), 3);
    assert_true(is_terminal(STR("stopped")));
    assert_false(is_terminal(STR("stopping")));
    assert_false(is_terminal(STR("running")));
}

static void backoff(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 50; n++) {
        int64_t most = n >= 6 ? 5000 : INT64_C(100) << n;
        for (int i = 0; i < 20; i++)
            assert_in_range(retry_delay_ms(n), most / 2, most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms),
        cmocka_unit_test(complaints),
        cmocka_unit_test(durations),
        cmocka_unit_test(nearest),
        cmocka_unit_test(every_command_is_whole),
        cmocka_unit_test(exit_statuses),
        cmocka_unit_test(backoff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
