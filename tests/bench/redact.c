/* Speed of redaction: one line `name MB/s` an input of 10 MB, then what making a redactor costs. Beside it memchr and memcpy over the same bytes. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/redact.h"

enum { SIZE = 10 << 20 };

static const char log_line[] = "2026-01-02T03:04:05.678Z INFO worker[12] request done method=GET "
                               "path=/v1/items/42?page=3 status=200 took=12ms bytes=5321 user=somebody\n";
static const char prose_line[] = "The agent looked at the files, found three tests that fail, and wrote down what it "
                                 "thinks is the reason; then it asked for more time.\n";
static const char event[] =
    "{\"name\":\"read_file\",\"args\":{\"path\":\"src/main.c\",\"from\":1,\"to\":120},\"text\":\"line one of it\\nline "
    "two of it\\nand so on\",\"tokens\":512,\"ok\":true}";
static const char secret[] = "0123456789abcdefghijklmnopqrstuvwxyz0123456789";

static void repeat(char *buf, const char *what)
{
    size_t len = strlen(what);
    for (size_t at = 0; at < SIZE; at += len)
        memcpy(buf + at, what, len < SIZE - at ? len : SIZE - at);
}

static double seconds(int64_t since_us)
{
    return (double)(clock_mono_us() - since_us) / 1e6;
}

static void say(const char *name, double value)
{
    printf("%s %.2f\n", name, value);
    fflush(stdout);
}

static double text_speed(struct redactor *r, const char *buf)
{
    struct strbuf out;
    strbuf_init(&out, 8 * (size_t)SIZE);
    int64_t began = clock_mono_us();
    redact_text(r, (struct str){buf, SIZE}, &out);
    double took = seconds(began);
    strbuf_done(&out);
    return SIZE / 1e6 / took;
}

static double event_speed(struct redactor *r)
{
    struct strbuf out;
    size_t n = SIZE / sizeof event;
    strbuf_init(&out, 65536);
    int64_t began = clock_mono_us();
    for (size_t i = 0; i < n; i++) {
        strbuf_reset(&out);
        redact_json(r, str_of(event), &out);
    }
    double took = seconds(began);
    strbuf_done(&out);
    return (double)(n * sizeof event) / 1e6 / took;
}

static void raw(const char *buf)
{
    char *copy = malloc(SIZE);
    volatile size_t found = 0;
    memset(copy, 1, SIZE);
    int64_t began = clock_mono_us();
    for (int i = 0; i < 10; i++)
        memcpy(copy, buf + (i & 1), SIZE - 1);
    found += (size_t)copy[SIZE / 2];
    say("memcpy", 10 * SIZE / 1e6 / seconds(began));
    began = clock_mono_us();
    for (int i = 0; i < 10; i++)
        found += memchr(buf, 1 + i % 2, SIZE) != NULL;
    say("memchr", 10 * SIZE / 1e6 / seconds(began));
    free(copy);
}

static void adversarial(struct redactor *r, char *buf)
{
    static const char *const words[] = {"a",
                                        "eyJ",
                                        "-eyJ",
                                        "token",
                                        "token ",
                                        "password=",
                                        "password=a",
                                        "key: a b",
                                        "-----BEGIN ",
                                        "-----BEGIN RSA PRIVATE ",
                                        "://",
                                        "://a:",
                                        "https://aaaaaaaaaaaaaaaaaaaa:",
                                        "gh",
                                        "sk-",
                                        "s"
                                        "k-a",
                                        "Bearer ",
                                        "bearer a",
                                        "Cookie: a",
                                        "\\",
                                        "\"",
                                        "\"password\":\"\\\\",
                                        "%",
                                        "=",
                                        "basic aaaa",
                                        "[SECRET:",
                                        "<password>",
                                        "--password ",
                                        "0123456789abcdefghijklmnopqrstuvwxyz012345678",
                                        "MDEyMzQ1Njc4OWFiY2Rl",
                                        "\\u0030\\u0031",
                                        "authorization: bearer ",
                                        "xoxb-",
                                        "hooks.slack.com/services/",
                                        "ya29.",
                                        "a.b",
                                        "AKIA",
                                        "LS0tLS1CRUdJTiB",
                                        "token=x",
                                        "secret: x "};
    double slowest = 1e9;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        repeat(buf, words[i]);
        double speed = text_speed(r, buf);
        fprintf(stderr, "%8.1f MB/s of %s\n", speed, words[i]);
        if (speed < slowest) {
            slowest = speed;
        }
    }
    say("adversarial-slowest", slowest);
}

static void making(size_t n)
{
    struct redact_secret list[16];
    char values[16][65], name[32];
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < 64; k++)
            values[i][k] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"[(k * (7 + (int)i) + (int)i) % 64];
        values[i][n == 1 ? 49 : 64] = 0;
        list[i] = (struct redact_secret){STR("NAME"), str_of(values[i])};
    }
    enum { TIMES = 200 };
    struct redactor *made[TIMES];
    size_t before = mallinfo2().uordblks;
    int64_t began = clock_mono_us();
    for (int i = 0; i < TIMES; i++)
        if (redactor_new(list, n, &made[i]) != ERR_OK)
            abort();
    double us = 1e6 * seconds(began) / TIMES;
    size_t bytes = (mallinfo2().uordblks - before) / TIMES;
    for (int i = 0; i < TIMES; i++)
        redactor_free(made[i]);
    snprintf(name, sizeof name, "making-%zu-us", n);
    say(name, us);
    snprintf(name, sizeof name, "making-%zu-bytes", n);
    say(name, (double)bytes);
}

int main(void)
{
    struct redactor *r;
    char *buf = malloc(SIZE + 1);
    if (!buf || redactor_new(&(struct redact_secret){STR("TOKEN"), str_of(secret)}, 1, &r) != ERR_OK)
        return 1;
    repeat(buf, log_line);
    raw(buf);
    say("log", text_speed(r, buf));
    repeat(buf, prose_line);
    say("prose", text_speed(r, buf));
    say("events", event_speed(r));
    adversarial(r, buf);
    making(1);
    making(10);
    redactor_free(r);
    free(buf);
    return 0;
}
