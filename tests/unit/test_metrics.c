#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>

#include "common/metrics.h"

static char *exposition(void)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    metrics_write(&out, "api");
    assert_false(strbuf_failed(&out));
    return strbuf_take(&out);
}

/* The value of a sample, named as it stands at the beginning of its line. */
static double sample(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            return strtod(line + len + 1, NULL);
    fail_msg("no sample %s", name);
    return -1;
}

static void test_counters_and_gauges_add_up(void **state)
{
    (void)state;
    int64_t before = metric_value(METRIC_RUNS_SUBMITTED);
    metric_add(METRIC_RUNS_SUBMITTED, 1);
    metric_add(METRIC_RUNS_SUBMITTED, 41);
    metric_add(METRIC_READERS, 5);
    metric_add(METRIC_READERS, -2);
    assert_int_equal(metric_value(METRIC_RUNS_SUBMITTED), before + 42);
    char *text = exposition();
    assert_true(sample(text, "errand_runs_submitted_total") == (double)(before + 42));
    assert_true(sample(text, "errand_stream_readers") == 3);
    metric_add(METRIC_READERS, -3);
    free(text);
}

static void test_labels_tell_the_rows_of_one_name_apart(void **state)
{
    (void)state;
    metric_add(METRIC_HTTP_REQUESTS_2XX, 3);
    metric_add(METRIC_HTTP_REQUESTS_5XX, 1);
    char *text = exposition();
    assert_true(sample(text, "errand_http_requests_total{code=\"2xx\"}") == 3);
    assert_true(sample(text, "errand_http_requests_total{code=\"4xx\"}") == 0);
    assert_true(sample(text, "errand_http_requests_total{code=\"5xx\"}") == 1);
    free(text);
}

static void *count_much(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100000; i++)
        metric_add(METRIC_FRAMES, 1);
    for (int i = 0; i < 1000; i++)
        metric_observe_us(METRIC_START_SECONDS, 100);
    return NULL;
}

static void test_nothing_is_lost_among_threads_nor_with_their_end(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, NULL), 0);
    metric_add(METRIC_FRAMES, 7);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(metric_value(METRIC_FRAMES), 400007);
    char *text = exposition();
    assert_true(sample(text, "errand_runner_start_duration_seconds_count") == 4000);
    free(text);
}

static void test_a_histograms_buckets_are_cumulative_and_include_their_bound(void **state)
{
    (void)state;
    static const int64_t observed[] = {0, 100, 101, 250, 999, 1000, 10000000, 10000001, 3600000000};
    double sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(observed); i++) {
        metric_observe_us(METRIC_HTTP_SECONDS, observed[i]);
        sum += (double)observed[i] / 1e6;
    }
    char *text = exposition();
#define H "errand_http_request_duration_seconds"
    assert_true(sample(text, H "_bucket{le=\"0.0001\"}") == 2);
    assert_true(sample(text, H "_bucket{le=\"0.00025\"}") == 4);
    assert_true(sample(text, H "_bucket{le=\"0.0005\"}") == 4);
    assert_true(sample(text, H "_bucket{le=\"0.001\"}") == 6);
    assert_true(sample(text, H "_bucket{le=\"5\"}") == 6);
    assert_true(sample(text, H "_bucket{le=\"10\"}") == 7);
    assert_true(sample(text, H "_bucket{le=\"+Inf\"}") == 9);
    assert_true(sample(text, H "_count") == 9);
    double difference = sample(text, H "_sum") - sum;
    assert_true(difference < 1e-5 && difference > -1e-5);
    free(text);
}

static void test_every_name_has_its_help_and_type_once_and_before_its_samples(void **state)
{
    (void)state;
    static const struct {
        const char *name, *type;
    } rows[] = {
#define ROW(id, type, name, labels, help) {name, #type},
        METRIC_TABLE(ROW)
#undef ROW
    };
    char *text = exposition();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char line[256];
        int len = snprintf(line, sizeof line, "# TYPE %s %s\n%s", rows[i].name, rows[i].type, rows[i].name);
        const char *found = strstr(text, line);
        if (!found)
            fail_msg("not there: %s", line);
        assert_null(strstr(found + len, line)); /* rows of one name stand together in the table */
        size_t name_len = strlen(rows[i].name);
        bool is_total = name_len > 6 && strcmp(rows[i].name + name_len - 6, "_total") == 0;
        assert_int_equal(is_total, strcmp(rows[i].type, "counter") == 0);
    }
    assert_true(sample(text, "process_resident_memory_bytes") > 100000);
    assert_true(sample(text, "process_cpu_seconds_total") >= 0);
    assert_non_null(strstr(text, "component=\"api\"} 1\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_and_gauges_add_up),
        cmocka_unit_test(test_labels_tell_the_rows_of_one_name_apart),
        cmocka_unit_test(test_nothing_is_lost_among_threads_nor_with_their_end),
        cmocka_unit_test(test_a_histograms_buckets_are_cumulative_and_include_their_bound),
        cmocka_unit_test(test_every_name_has_its_help_and_type_once_and_before_its_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
