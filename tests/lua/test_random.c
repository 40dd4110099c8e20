/* Scripts in random order, with everything that a run may ask for, under the audit: whatever the order, each run is in exactly the structures that its status says. A failure names the seed; set ERRAND_TEST_SEED to it. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "audit.h"
#include "lua/scripts_sync.h"

#define STEPS   400
#define EVERY   10 /* steps between two audits */
#define RUNNERS 2
#define HELD    64

struct world {
    struct harness *h;
    unsigned seed;
    const char *runs[STEPS + 1]; /* all that were ever accepted */
    size_t runs_len;
    struct {
        const struct script_claim_runs *row;
        int runner;
        bool started;
        int64_t seq;
    } held[HELD];
    size_t held_len;
    int64_t claims[RUNNERS];
    int lives[RUNNERS]; /* a runner that died comes back under another name */
};

static unsigned pick(struct world *w, unsigned n)
{
    return (unsigned)rand_r(&w->seed) % n;
}

static const char *any_run(struct world *w)
{
    return w->runs_len ? w->runs[pick(w, (unsigned)w->runs_len)] : NULL;
}

static const char *inc_of(struct world *w, int runner)
{
    return harness_printf(w->h, "inc-%d-%d", runner, w->lives[runner]);
}

static void submit(struct world *w)
{
    static const char *const prios[] = {"high", "normal", "low"},
                             *const limits[] = {"queue", "queue", "replace", "reject"},
                             *const keys[] = {"k:x=1", "k:x=3", "k:y=2", "k:z=3"},
                             *const rates[] = {"rk:r=5/10/1", "rk:s=1/60000/3"};
    struct rig_run o = {
        .priority = prios[pick(w, 3)], .on_limit = limits[pick(w, 4)], .on_dep_fail = pick(w, 2) ? "run" : "fail"};
    if (pick(w, 3) == 0)
        o.key_gate = keys[pick(w, 4)];
    if (pick(w, 4) == 0)
        o.rate_gate = rates[pick(w, 2)];
    if (pick(w, 4) == 0)
        o.agent = "bot";
    else if (pick(w, 5) == 0)
        o.retain_count = "3";
    if (pick(w, 6) == 0)
    o.requires = pick(w, 2) ? "gpu" : "arm";
    if (pick(w, 5) == 0)
        o.delay_ms = 1 + pick(w, 20);
    if (pick(w, 5) == 0)
        o.start_within_ms = 1 + pick(w, 2000);
    if (pick(w, 3) == 0)
        o.parent = any_run(w);
    if (pick(w, 6) == 0)
        o.queue = "other";
    o.max_attempts = 1 + pick(w, 3);
    o.at_most_once = pick(w, 8) == 0;
    if (pick(w, 3) == 0) {
        const char *one = any_run(w), *two = any_run(w);
        o.depends[0] = one;
        o.depends[1] = two != one ? two : NULL;
    }
    enum err err;
    const char *run = rig_try_submit(w->h, &o, &err);
    if (run)
        w->runs[w->runs_len++] = run;
}

static void claim(struct world *w)
{
    int runner = (int)pick(w, RUNNERS);
    const struct script_claim_reply *reply;
    if (w->held_len + 4 > HELD ||
        rig_try_claim(w->h, inc_of(w, runner), ++w->claims[runner], 1 + pick(w, 4), &reply) != ERR_OK)
        return;
    for (size_t i = 0; i < reply->runs_len; i++) {
        w->held[w->held_len].row = &reply->runs[i];
        w->held[w->held_len].runner = runner;
        w->held[w->held_len].seq = reply->runs[i].first_seq;
        w->held[w->held_len++].started = false;
    }
}

static void drop(struct world *w, size_t i)
{
    w->held[i] = w->held[--w->held_len];
}

/* As a runner writes it; Redis refuses the id when the attempt is over. */
static void append(struct world *w, const struct script_claim_runs *row, int64_t seq)
{
    const char *n = harness_printf(w->h, "%lld", (long long)seq);
    (void)harness_try(w->h, "XADD %s NOMKSTREAM %s h %s,%s,%s,1,9,9 b x",
                      harness_key(w->h, "run:%.*s:events", STR_ARG(row->run)),
                      harness_printf(w->h, "%lld-%s", (long long)row->epoch, n), n, n,
                      harness_printf(w->h, "%lld", (long long)row->last_t_ms + 1));
}

/* Something with an attempt; what was taken away meanwhile is refused. */
static void execute(struct world *w)
{
    static const char *const outcomes[] = {"success", "error", "stopped"};
    if (w->held_len == 0)
        return;
    size_t i = pick(w, (unsigned)w->held_len);
    const char *inc = inc_of(w, w->held[i].runner);
    const struct script_claim_runs *row = w->held[i].row;
    unsigned what = pick(w, 6);
    if (!w->held[i].started && what < 4) {
        w->held[i].started = rig_started(w->h, inc, row) == ERR_OK;
    } else if (what < 2) {
        append(w, row, ++w->held[i].seq);
    } else if (what < 5) {
        (void)rig_finish(w->h, inc, row, outcomes[pick(w, 3)], pick(w, 2) ? 5 : 0, NULL);
        drop(w, i);
    } else {
        (void)audit_hand_back(w->h, inc, row);
        drop(w, i);
    }
}

/* A runner dies, or a claim's answer was lost. */
static void lose(struct world *w)
{
    int runner = (int)pick(w, RUNNERS);
    const char *inc = inc_of(w, runner);
    if (pick(w, 2)) {
        (void)rig_heartbeat(w->h, inc, w->claims[runner], NULL, 0, NULL);
    } else {
        rig_expire(w->h, inc);
        (void)rig_reap(w->h, 1 + pick(w, 3));
    }
    for (size_t i = w->held_len; i-- > 0;)
        if (w->held[i].runner == runner && pick(w, 2))
            drop(w, i);
    if (!harness_exists(w->h, harness_key(w->h, "runner:%s", inc)) ||
        strcmp(harness_hget(w->h, harness_key(w->h, "runner:%s", inc), "state"), "dead") == 0) {
        w->lives[runner]++;
        w->claims[runner] = 0;
        rig_register(w->h, inc_of(w, runner));
    }
}

static void put_agent(struct world *w)
{
    static const char *const concurrency[] = {"", "1", "2", "5"}, *const rate[] = {"", "", "5/10/1"};
    const char *c = concurrency[pick(w, 4)], *r = rate[pick(w, 3)];
    const struct str def[] = {
        S("json"),        S("{}"),     S("queue"),         S("default"), S("timeoutMs"),    S("1000"),
        S("graceMs"),     S("100"),    S("maxAttempts"),   S("2"),       S("atMostOnce"),   S("0"),
        S("backoffType"), S("fixed"),  S("backoffBaseMs"), S("10"),      S("backoffCapMs"), S("10"),
        S("source"),      S("stdout"), S("executor"),      S("process"), S("concurrency"),  S(c),
        S("rate"),        S(r)};
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S("bot"),
                                         .digest = S(harness_printf(w->h, "bot-%s-%.1s", c, r)),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = 10,
                                         .max_versions = 3};
    harness_assert_err(sync_agent_put(w->h, &args, NULL), ERR_OK);
}

static void put_workspace(struct world *w)
{
    static const char *const counts[] = {"0", "4", "9"};
    const char *concurrency = counts[pick(w, 3)];
    const struct str fields[] = {S("weight"), S("2"), S("retentionCount"), S("30")};
    struct script_ws_put_args args = {.ws = S("default"),
                                      .concurrency = strtol(concurrency, NULL, 10),
                                      .max_workspaces = 10,
                                      .fields = fields,
                                      .fields_len = ARRAY_LEN(fields)};
    harness_assert_err(sync_ws_put(w->h, &args, NULL), ERR_OK);
}

/* What nodes do each second, and what people do. */
static void keep_house(struct world *w)
{
    const char *run = any_run(w);
    unsigned what = pick(w, 8);
    if (what < 3) {
        struct script_promote_args args = {.max = 1 + pick(w, 20), .rid = S(RID), .retention_ms = RETAIN};
        harness_assert_err(sync_promote(w->h, &args, NULL), ERR_OK);
    } else if (what == 3) {
        (void)rig_reap(w->h, 5);
    } else if (what == 4 && run) {
        (void)rig_stop(w->h, run);
    } else if (what == 5 && run) {
        (void)sync_delete(w->h, &(struct script_delete_args){.ws = S("default"), .run = S(run)}, NULL);
    } else if (what == 6 && pick(w, 2)) {
        put_workspace(w);
    } else if (what == 6) {
        put_agent(w);
    } else {
        harness_assert_err(sync_sweep(w->h, &(struct script_sweep_args){.max = 5}, NULL), ERR_OK);
    }
}

static void step(struct world *w)
{
    unsigned what = pick(w, 10);
    if (what < 3)
        submit(w);
    else if (what < 4)
        claim(w);
    else if (what < 7)
        execute(w);
    else if (what < 9)
        keep_house(w);
    else if (pick(w, 3) == 0)
        lose(w);
}

static void walk(struct harness *h, unsigned seed)
{
    struct world w = {.h = h, .seed = seed};
    put_agent(&w);
    for (int i = 0; i < RUNNERS; i++)
        rig_register(h, inc_of(&w, i));
    for (int i = 1; i <= STEPS; i++) {
        step(&w);
        const char *found = i % EVERY == 0 ? audit_findings(h) : "";
        if (*found)
            fail_msg("ERRAND_TEST_SEED=%u, step %d:\n%s", seed, i, found);
    }
}

static void test_any_order(void **state)
{
    const char *given = getenv("ERRAND_TEST_SEED");
    unsigned first = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    for (unsigned i = 0; i < (given ? 1 : 12); i++) {
        assert_int_equal(harness_test_start(state), 0);
        walk(*state, first + i * 1000003U);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_any_order, harness_test_start)};
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
