/* What the load client counts: events of a stream in any pieces, and latencies in fixed memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli/bench_frames.h"
#include "cli/bench_histogram.h"

static const char stream[] =
    "retry: 1000\n\nevent: run\ndata: {\"runId\":\"x\"}\n\n"
    "id: 1\nevent: runtime_started\ndata: {\"seq\":1,\"tMs\":1000,\"kind\":\"runtime_started\"}\n\n"
    ": heartbeat\n\n"
    "id: 2\nevent: assistant_text\ndata: {\"seq\":2,\"tMs\":1007,\"kind\":\"assistant_text\",\"data\":{\"text\":"
    "\"id: 9 event: done xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}}\n\n"
    "event: done\ndata: {\"runId\":\"x\"}\n\n";

static void any_pieces(void **state)
{
    (void)state;
    for (size_t step = 1; step < sizeof stream; step++) {
        struct frames f = {.seq = -1, .delay_ms = -1};
        int64_t events = 0;
        for (size_t at = 0; at < sizeof stream - 1; at += step) {
            size_t left = sizeof stream - 1 - at;
            events += frames_feed(&f, (struct str){stream + at, left < step ? left : step}, 1, 1010);
        }
        assert_int_equal(events, 2);
        assert_int_equal(f.events, 2);
        assert_int_equal(f.last_seq, 2);
        assert_int_equal(f.missing + f.repeated, 0);
        assert_int_equal(f.delay_ms, 3);
        assert_true(f.done);
    }
}

static void feed(struct frames *f, const char *text)
{
    (void)frames_feed(f, str_of(text), 0, 0);
}

static void gaps_and_repetitions(void **state)
{
    (void)state;
    struct frames f = {.seq = -1};
    feed(&f, "id: 1\ndata: {}\n\nid: 3\ndata: {}\n\n");
    assert_int_equal(f.missing, 1);
    feed(&f, "id: 3\ndata: {}\n\n");
    assert_int_equal(f.repeated, 1);
    assert_int_equal(f.events, 2);
    feed(&f, "event: gap\ndata: {\"from\":4,\"to\":9}\n\n");
    assert_int_equal(f.missing, 7);
    feed(&f, "id: 10\ndata: {}\n\nid: 11\nda");
    assert_int_equal(f.missing, 7);
    assert_int_equal(f.events, 3);
    frames_resume(&f); /* cut within 11, which comes again */
    feed(&f, "retry: 1000\n\nid: 11\ndata: {}\n\n");
    assert_int_equal(f.missing, 7);
    assert_int_equal(f.repeated, 1);
    assert_int_equal(f.events, 4);
}

static void histogram(void **state)
{
    (void)state;
    static struct histogram h;
    assert_int_equal(histogram_at(&h, 0.5), 0);
    for (int64_t i = 1; i <= 100; i++)
        histogram_add(&h, i);
    assert_int_equal(histogram_at(&h, 0.5), 50);
    assert_int_equal(histogram_at(&h, 0.99), 99);
    assert_int_equal(histogram_at(&h, 1), 100);
    for (int64_t us = 1; us < INT64_C(30000000000); us = us * 5 / 4 + 1) {
        struct histogram one = {.total = 0};
        histogram_add(&one, us);
        int64_t said = histogram_at(&one, 0.5);
        assert_true(said >= us && said - us <= us / 64);
    }
    struct histogram far = {.total = 0};
    histogram_add(&far, -5);
    assert_int_equal(histogram_at(&far, 0.5), 0);
    histogram_add(&far, INT64_MAX);
    assert_true(histogram_at(&far, 1) > INT64_C(30000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_pieces),
        cmocka_unit_test(gaps_and_repetitions),
        cmocka_unit_test(histogram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
