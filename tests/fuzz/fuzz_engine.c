/* Answers of the Docker Engine API and of the Machines API, and the frames of a container's output: the first byte says which. */
#include "runner/container_parts.h"
#include "runner/fly_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(void *ctx, enum job_stream stream, struct str bytes)
{
    size_t *sum = ctx;
    PRE(stream == JOB_STDOUT || stream == JOB_STDERR);
    PRE(bytes.len > 0);
    *sum += bytes.len;
}

/* As one piece, and byte by byte: the same comes out. */
static void frames(struct str bytes)
{
    struct frames whole = {.left = 0}, parts = {.left = 0};
    size_t a = 0, b = 0;
    bool ok = docker_frames_feed(&whole, bytes, take, &a);
    for (size_t i = 0; i < bytes.len; i++)
        (void)docker_frames_feed(&parts, (struct str){bytes.ptr + i, 1}, take, &b);
    PRE(a == b && ok == !parts.broken && a <= bytes.len);
}

static void engine(struct str body)
{
    struct container_owner owner = {STR("r"), STR("n"), STR("p"), STR("me"), 1};
    struct container_state s;
    struct container_usage u;
    struct container_info info;
    char id[CONTAINER_ID_MAX], text[700];
    if (container_read_state(body, &owner, &s)) {
        PRE(s.id[0] && !strchr(s.id, '/') && !strchr(s.id, '"'));
        (void)container_limits_fault(&s, &(struct job_limits){.memory_bytes = 1}, true);
    }
    if (container_read_id(body, id))
        PRE(id[0] && !strchr(id, '/') && !strchr(id, '"'));
    if (container_handle_id(body, id))
        PRE(id[0] && !strchr(id, '/'));
    PRE(!container_read_usage(body, &u) || u.cpu_ns >= 0 || u.memory >= 0);
    PRE(container_read_info(body, &info) || !container_read_state(body, &owner, &s));
    container_read_error(body, 500, text, sizeof text);
}

static void fly(struct str body)
{
    struct fly_owner owner = {STR("r"), STR("n"), STR("p"), STR("me"), 1};
    struct fly_machine m;
    struct job_exit how;
    struct arena a;
    const char *message;
    char nonce[FLY_NONCE_MAX], app[FLY_APP_MAX], id[FLY_ID_MAX], text[700];
    arena_init(&a, 16 << 20);
    if (fly_read_machine(fly_parse(&a, body), &owner, &m)) {
        PRE(fly_word_valid(str_of(m.id)));
        fly_job_exit(&m, &how, &message);
    }
    arena_done(&a);
    PRE(!fly_read_nonce(body, nonce) || fly_word_valid(str_of(nonce)));
    PRE(!fly_read_handle(body, app, id) || (fly_word_valid(str_of(app)) && fly_word_valid(str_of(id))));
    fly_read_error(body, 500, text, sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 65536)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1};
    if (data[0] == 'f')
        frames(rest);
    else if (data[0] == 'm')
        fly(rest);
    else
        engine(rest);
    return 0;
}
