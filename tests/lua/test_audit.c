/* The audit itself: for each kind of finding, a healthy shard made by the scripts is broken by one plain command, and the audit must name what is wrong. */
#include <stdlib.h>

#include "audit.h"
#include "cli/audit.h"
#include "common/strbuf.h"
#include "lua/scripts_sync.h"

/* ---- a healthy shard with a bit of everything ---- */

struct scene {
    struct harness *h;
    struct {
        const char *name, *value;
    } names[32];
    size_t names_len;
};

static const char *name_it(struct scene *s, const char *name, const char *value)
{
    assert_true(s->names_len < ARRAY_LEN(s->names));
    s->names[s->names_len].name = name;
    s->names[s->names_len++].value = value;
    return value;
}

static void put_agent(struct harness *h, const char *name)
{
    const struct str def[] = {
        S("json"),        S("{}"),     S("queue"),         S("default"), S("timeoutMs"),    S("1000"),
        S("graceMs"),     S("100"),    S("maxAttempts"),   S("1"),       S("atMostOnce"),   S("0"),
        S("backoffType"), S("fixed"),  S("backoffBaseMs"), S("10"),      S("backoffCapMs"), S("10"),
        S("source"),      S("stdout"), S("executor"),      S("process"), S("concurrency"),  S("5")};
    struct script_agent_put_args args = {.ws = S("default"),
                                         .name = S(name),
                                         .digest = S("named"),
                                         .def_fields = def,
                                         .def_fields_len = ARRAY_LEN(def),
                                         .max_agents = 10,
                                         .max_versions = 10};
    harness_assert_err(sync_agent_put(h, &args, NULL), ERR_OK);
}

/* Runs that were executed, one after the other, and one that still is. */
static void build_executed(struct scene *s)
{
    struct harness *h = s->h;
    const struct script_claim_runs *row =
        audit_running(h, "inc-1", &(struct rig_run){.retain_count = "5", .retain_events = "1000"});
    name_it(s, "ended", audit_id(h, row));
    harness_assert_err(rig_finish(h, "inc-1", row, "success", 0, NULL), ERR_OK);
    row = audit_running(h, "inc-1", NULL);
    name_it(s, "failed", audit_id(h, row));
    harness_assert_err(rig_finish(h, "inc-1", row, "error", 0, NULL), ERR_OK);
    row = audit_running(h, "inc-1", &(struct rig_run){.start_within_ms = 60000, .key_gate = "k:y=3"});
    name_it(s, "active", audit_id(h, row));
    name_it(s, "epoch", harness_printf(h, "%lld", (long long)row->epoch));
    row = audit_running(h, "inc-1", NULL);
    name_it(s, "again", audit_id(h, row));
    harness_assert_err(audit_hand_back(h, "inc-1", row), ERR_OK);
}

static void build_waiting(struct scene *s)
{
    struct harness *h = s->h;
    const char *queued = name_it(s, "queued", rig_submit(h, NULL));
    name_it(s, "child", rig_submit(h, &(struct rig_run){.parent = queued, .idem_key = "key"}));
    name_it(s, "delayed", rig_submit(h, &(struct rig_run){.delay_ms = 60000}));
    name_it(s, "tagged", rig_submit(h, &(struct rig_run){.requires = "gpu"}));
    name_it(s, "req", rig_field(h, s->names[s->names_len - 1].value, "req"));
    name_it(s, "named", rig_submit(h, &(struct rig_run){.agent = "bot"}));
    name_it(s, "holder", rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"}));
    name_it(s, "parked", rig_submit(h, &(struct rig_run){.key_gate = "k:x=1"}));
    name_it(s, "paced", rig_submit(h, &(struct rig_run){.rate_gate = "rk:r=1/60000/1"}));
    name_it(s, "unpaced", rig_submit(h, &(struct rig_run){.rate_gate = "rk:r=1/60000/1"}));
    name_it(s, "hurried", rig_submit(h, &(struct rig_run){.start_within_ms = 60000}));
    name_it(s, "dependent", rig_submit(h, &(struct rig_run){.depends = {queued}}));
    const char *stopped = name_it(s, "stopped", rig_submit(h, NULL));
    name_it(s, "untold", rig_submit(h, &(struct rig_run){.depends = {stopped}, .on_dep_fail = "run"}));
    harness_assert_err(rig_stop(h, stopped), ERR_OK);
}

/* What has no runs; the commands say what the scripts of schedules write. */
static void build_settings(struct scene *s)
{
    struct harness *h = s->h;
    const struct str fields[] = {S("weight"), S("2"), S("concurrency"), S("50")};
    put_agent(h, "bot");
    for (int i = 0; i < 2; i++) {
        struct script_ws_put_args ws = {.ws = S(i ? "team" : "default"),
                                        .concurrency = 50,
                                        .max_workspaces = 10,
                                        .fields = fields,
                                        .fields_len = ARRAY_LEN(fields)};
        harness_assert_err(sync_ws_put(h, &ws, NULL), ERR_OK);
    }
    struct script_queue_put_args queue = {
        .name = S("other"), .paused = 1, .draining = -1, .max_waiting = 9, .max_queues = 10};
    harness_assert_err(sync_queue_put(h, &queue, NULL), ERR_OK);
    struct script_secret_put_args secret = {
        .ws = S("team"), .name = S("KEY"), .version = 1, .sealed = S("x"), .max_secrets = 9, .max_versions = 9};
    harness_assert_err(sync_secret_put(h, &secret, NULL), ERR_OK);
    harness_do(h, "HSET %s next 5000 cron @daily", harness_key(h, "schedule:team:nightly"));
    harness_do(h, "HSET %s next 5000 paused 1", harness_key(h, "schedule:team:resting"));
    harness_do(h, "ZADD %s 0 nightly 0 resting", harness_key(h, "schedules:team"));
    harness_do(h, "ZADD %s 5000 team:nightly", harness_key(h, "ticks"));
}

/* A webhook that wants ends and events, one delivery that was taken, one that waits, and a run that is looked through. */
static void build_hooks(struct scene *s)
{
    struct harness *h = s->h;
    const struct str fields[] = {S("url"), S("https://example.com/"), S("enabled"), S("1")};
    struct script_hook_put_args put = {.ws = S("default"),
                                       .id = S("wh_1"),
                                       .secret = S("sealed"),
                                       .filter = S("run.success run.error event.notification|"),
                                       .max_hooks = 5,
                                       .fields = fields,
                                       .fields_len = ARRAY_LEN(fields)};
    harness_assert_err(sync_hook_put(h, &put, NULL), ERR_OK);
    const struct script_claim_runs *row = audit_running(h, "inc-1", NULL);
    name_it(s, "followed", audit_id(h, row));
    row = audit_running(h, "inc-1", NULL);
    harness_assert_err(rig_finish(h, "inc-1", row, "success", 0, NULL), ERR_OK);
    struct script_hook_take_args take = {.max = 1, .lease_ms = 60000, .max_result = 100};
    const struct script_hook_take_reply *taken;
    harness_assert_err(sync_hook_take(h, &take, &taken), ERR_OK);
    assert_int_equal(taken->deliveries_len, 1);
    name_it(s, "delivery", harness_copy_str(h, taken->deliveries[0].id).ptr);
}

static struct scene *build(struct harness *h)
{
    struct scene *s = harness_copy(h, &(struct scene){.h = h}, sizeof(*s));
    build_settings(s);
    build_hooks(s);
    build_executed(s);
    build_waiting(s);
    audit_check(h);
    return s;
}

/* `{name}` is a name of the scene, `@` the shard's prefix. */
static const char *expand(const struct scene *s, const char *text)
{
    struct strbuf out;
    strbuf_init(&out, 4096);
    for (; *text; text++) {
        if (*text == '@') {
            strbuf_add(&out, s->h->prefix);
        } else if (*text == '{') {
            size_t i = 0, len = strcspn(text + 1, "}");
            while (i < s->names_len &&
                   (strlen(s->names[i].name) != len || strncmp(s->names[i].name, text + 1, len) != 0))
                i++;
            assert_true(i < s->names_len);
            strbuf_addz(&out, s->names[i].value);
            text += len + 1;
        } else {
            strbuf_addc(&out, *text);
        }
    }
    const char *expanded = harness_copy_str(s->h, strbuf_str(&out)).ptr;
    strbuf_done(&out);
    return expanded;
}

/* ---- what may break ---- */

struct breakage {
    const char *command; /* words between single spaces; several commands between ';' */
    const char *found;   /* a line of the findings begins with this */
};

static const struct breakage of_runs[] = {
    {"HSET @run:{queued} status sleeping", "run:{queued}: has a status that is none"},
    {"SET @run:00000000-0000-4000-8000-000000000000 x", "run:00000000-0000-4000-8000-000000000000: is of a wrong type"},
    {"HSET @run:{queued} lane high waitGate w",
     "run:{queued}: has a place in a lane or a gate's line and does not wait there"},
    {"HSET @run:{delayed} lane normal",
     "run:{delayed}: has a place in a lane or a gate's line and does not wait there"},
    {"HSET @run:{delayed} laneId 1-1", "run:{delayed}: has a place in a lane or a gate's line and does not wait there"},
    {"HDEL @run:{queued} laneId", "run:{queued}: is not in its lane"},
    {"HSET @run:{queued} lane high", "run:{queued}: waits in a lane that is not its own"},
    {"HSET @run:{queued} laneId 1-1", "run:{queued}: is not in its lane"},
    {"HDEL @run:{delayed} due", "run:{delayed}: has a due time or dependencies and is not scheduled, or"},
    {"HSET @run:{queued} due 5", "run:{queued}: has a due time or dependencies and is not scheduled, or"},
    {"HSET @run:{queued} completed 5", "run:{queued}: has an end time and has not ended, or"},
    {"HDEL @run:{ended} completed", "run:{ended}: has an end time and has not ended, or"},
    {"HSET @run:{active} status stopping", "run:{active}: stops without having been told"},
    {"ZREM @delayed {delayed}", "run:{delayed}: is not in delayed with its due time"},
    {"ZADD @delayed 7 {delayed}", "run:{delayed}: is not in delayed with its due time"},
    {"ZREM @held:inc-1 {active}", "run:{active}: is not held with its epoch"},
    {"DEL @runner:inc-1", "run:{active}: is executed by no runner"},
    {"ZREM @retain {ended}", "run:{ended}: has no retention"},
    {"ZREM @idx:default {queued}", "run:{queued}: is not in its workspace's index"},
    {"ZADD @idx:default 7 {queued}", "run:{queued}: is not in its workspace's index"},
    {"ZREM @idx:default:agent:t {queued}", "run:{queued}: is not in its agent's index"},
    {"ZREM @run:{queued}:children {child}", "run:{child}: is not among its parent's children"},
    {"DEL @run:{active}:events", "run:{active}: has no event stream"},
    {"HDEL @run:{parked} more", "run:{parked}: does not say that there is more to its claim"},
    {"HDEL @run:{active} extra", "run:{active}: does not say that there is more to its end"},
    {"HSET @run:{active} epoch 5", "run:{active}: is not held with its epoch"},
    {"HSET @run:{again} epoch 5", "run:{again}: has attempts that are not as they should be"},
    {"DEL @def:digest-0-stdout", "run:{queued}: has no definition"},
    {"HSET @run:{ended} a1:end success", "run:{ended}: has attempts that are not as they should be"},
    {"HSET @run:{active} a1:end lost", "run:{active}: has attempts that are not as they should be"},
    {"HSET @run:{active} a1 0", "run:{active}: has attempts that are not as they should be"},
    {"XTRIM @run:{ended}:events MAXLEN 0", "run:{ended}: has a stream that does not end as the run does"},
    {"HSET @run:{ended} tail 9999", "run:{ended}: has a stream that does not end as the run does"},
    {"HSET @run:{failed} tail 1", "run:{failed}: has a stream that does not end as the run does"},
    {"XADD @run:{active}:events {epoch}-900 h 900,900,0,1,2,9 b x", "run:{active}: has events out of order"},
    {"XADD @run:{active}:events {epoch}-900 h 1,1,9000000000000,1,2,9 b x", "run:{active}: has events out of order"},
    {"XADD @run:{active}:events 9007199254740990-900 h 900,900,9000000000000,1,2,9 b x",
     "run:{active}: has an event of no attempt"},
    {"XADD @run:{active}:events 9007199254740991-900 h 900,900,9000000000000,1,2,9 b "
     "\"kind\":\"runtime_terminal\"",
     "run:{active}: has a stream that does not end as the run does"},
};

static const struct breakage of_lanes[] = {
    {"XADD @lane:default:-:default:normal * r {queued}",
     "lane:default:-:default:normal: has {queued}, which does not wait"},
    {"XADD @lane:default:-:default:normal * r {active}",
     "lane:default:-:default:normal: has {active}, which does not wait"},
    {"XADD @lane:default:-:default:normal * r nobody", "lane:default:-:default:normal: has nobody, which is no run"},
    {"XADD @lane:default:-:default:low * r nobody", "lane:default:-:default:low: is a lane that nobody serves"},
    {"XADD @lane:default:-:default:odd * r nobody", "lane:default:-:default:odd: is a lane of no priority"},
    {"XADD @lane:default:{req}:default:odd * r nobody;HDEL @reqs {req}",
     "lane:default:{req}:default:odd: is a lane of a requirement that nobody knows"},
    {"XGROUP CREATE @lane:default:-:default:high g 0 MKSTREAM", "lane:default:-:default:high: is an empty lane"},
    {"ZREM @prios:default:-:default normal", "run:{queued}: waits in a lane that is not served"},
    {"ZADD @prios:default:-:default 5 low", "prios:default:-:default: serves the lane low, which is not there"},
    {"ZREM @lanes:default:- default", "run:{queued}: waits in a workspace that is not served"},
    {"ZREM @lanes:default:- default", "prios:default:-:default: is of a workspace that nobody serves"},
    {"ZREM @lanes:default:- !default", "run:{again}: waits in an again lane that is not served"},
    {"ZADD @lanes:default:- 4 !default", "lanes:default:-: has an again lane that is not in front"},
    {"ZADD @lanes:default:- 5 ghost", "lanes:default:-: serves ghost, where nothing waits"},
    {"SET @vt:empty:- 5", "vt:empty:-: has virtual time, and nobody waits"},
    {"HDEL @reqs {req}", "reqn: counts runs of {req}, which nobody knows"},
    {"HSET @reqs 0123456789abcdef big", "reqs: knows 0123456789abcdef, which no run that waits has"},
    {"HDEL @reqs #", "reqs: has no version, or nothing else"},
    {"HINCRBY @reqn {req} 1", "reqn: counts 1 waiting runs too many of {req}"},
    {"HSET @reqn {req} 0", "reqn: counts no runs of {req}"},
    {"HSET @told default:-:default:high 5-1", "told: remembers the lane default:-:default:high, which is gone"},
    {"HINCRBY @queued default 2", "queued: counts 2 runs too many of default"},
    {"HINCRBY @queued default -1", "queued: counts 1 runs too few of default"},
    {"HSET @queued ghost 0", "queued: counts nothing, or less, of ghost"},
    {"HDEL @scheduled default", "scheduled: counts 3 runs too few of default"},
    {"HINCRBY @active default 1", "active: counts 1 runs too many of default"},
    {"HSET @active ghost -1", "active: counts nothing, or less, of ghost"},
    {"HINCRBY @use:default waiting 3", "use:default: counts 3 waiting runs too many"},
    {"HINCRBY @use:default bytes -7", "use:default: counts 7 bytes too few"},
    {"HSET @use:ghost bytes 7", "use:ghost: counts 7 bytes too many"},
    {"RPUSH @bell:default 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 "
     "1 1 1 1 1 "
     "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
     "bell:default: has too many bells"},
};

static const struct breakage of_gates[] = {
    {"ZREM @gate:default:k:x {holder}", "run:{holder}: is not held by a gate that it passed"},
    {"ZREM @gate:default:k:x {holder}", "wait:default:k:x: has waiting runs, and the gate has room"},
    {"ZADD @gate:default:k:x 5 {parked}", "run:{parked}: is held by a gate that it does not hold"},
    {"ZADD @gate:default:k:x 5 {parked}", "gate:default:k:x: has {parked}, which has not passed it"},
    {"ZADD @gate:default:k:x 5 {parked}", "gate:default:k:x: is held by more runs than its limit of 1"},
    {"ZADD @gate:default:a:bot 9000000000000 {holder} 9000000000000 {parked} 9000000000000 {paced} 1 {queued} 1 "
     "{child}",
     "gate:default:a:bot: is held by more runs than its limit of 5"},
    {"ZADD @gate:default:k:x 5 {queued}", "gate:default:k:x: has {queued}, which does not go through it"},
    {"ZADD @gate:default:k:x 5 {ended}", "gate:default:k:x: has {ended}, which has ended"},
    {"ZADD @gate:default:k:ghost 5 nobody", "gate:default:k:ghost: has nobody, which is no run"},
    {"ZREM @gate:default:rk:r {paced}", "run:{paced}: is not held by a gate that it passed"},
    {"HSET @run:{paced} lane again", "gate:default:rk:r: has {paced}, which was claimed"},
    {"HSET @run:{holder} gated 0", "run:{holder}: went on without all of its gates"},
    {"HSET @run:{holder} gated 3", "run:{holder}: holds more gates than it has"},
    {"HSET @run:{active} gated 0", "run:{active}: went on without all of its gates"},
    {"HSET @run:{delayed} gates k:z=1 gated 1",
     "run:{delayed}: holds gates and neither waits for a runner nor executes"},
    {"HSET @run:{parked} waitGate k:y", "run:{parked}: waits at a gate that is not its next one"},
    {"ZREM @wait:default:k:x {parked}", "run:{parked}: is not in its gate's line"},
    {"ZADD @wait:default:k:x 5 {parked}", "run:{parked}: is not in its gate's line"},
    {"ZADD @wait:default:k:x 5 {queued}", "wait:default:k:x: has {queued}, which does not wait there"},
    {"ZREM @throttled default:rk:r;ZREM @gate:default:rk:r {paced}",
     "wait:default:rk:r: has waiting runs, and the gate has room"},
    {"ZADD @throttled 5 default:q:x", "throttled: names default:q:x, which is no gate"},
    {"HSET @limits:default w 1 w@ 5", "gate:default:w: is held by more runs than its limit of 1"},
    {"HSET @limits:default a:bot 0", "limits:default: limits a:bot by 0, which is no limit"},
    {"HSET @limits:default k:x 5", "limits:default: limits k:x, which is no such gate"},
    {"PERSIST @rate:default:rk:r", "rate:default:rk:r: never expires"},
    {"SET @hold:default:- inc-1", "hold:default:-: never expires"},
};

static const struct breakage of_others[] = {
    {"ZADD @delayed 5 {queued}", "delayed: has {queued}, which is not scheduled"},
    {"ZREM @expiry {hurried}", "run:{hurried}: has a time to start by and is not in expiry"},
    {"ZADD @expiry 5 {hurried}", "expiry: has {hurried}, which is to start by another time"},
    {"ZADD @expiry 5 {active}", "expiry: has {active}, which need not start any more"},
    {"HSET @run:{ended} startBy 5;ZADD @expiry 5 {ended}", "run:{ended}: has ended and is still in expiry"},
    {"ZADD @retain 5 {queued}", "retain: has {queued}, which has not ended"},
    {"HSET @run:{ended} droppedTo 9", "retain: has e:{ended}, which has lost its events already"},
    {"SREM @run:{queued}:dependents {dependent}",
     "run:{dependent}: counts other dependencies than those that will tell it"},
    {"HSET @run:{dependent} depsLeft 2", "run:{dependent}: counts other dependencies than those that will tell it"},
    {"HSET @run:{dependent} depsLeft 0", "run:{dependent}: waits for no dependency, and says so"},
    {"SADD @run:{queued}:dependents {child}", "run:{queued}:dependents: has {child}, which does not wait for it"},
    {"HDEL @depq {stopped}", "run:{stopped}:dependents: has dependents that nobody will tell"},
    {"HSET @depq {queued} success", "depq: has {queued}, which has not ended so"},
    {"ZREM @dead:default {failed}", "run:{failed}: is not among the dead letters"},
    {"HSET @run:{ended} deadLetter 1", "run:{ended}: is a dead letter and did not end in error"},
    {"ZADD @dead:default 5 {ended}", "dead:default: has {ended}, which is no dead letter"},
    {"ZADD @kept:default:agent:t 5 {failed}",
     "kept:default:agent:t: has {failed}, which is not kept by number since then"},
    {"ZADD @kept:default:agent:bot 5 {ended}", "kept:default:agent:bot: has {ended}, which belongs elsewhere"},
    {"ZADD @idx:other 5 {queued}", "idx:other: has {queued}, which belongs elsewhere"},
    {"ZADD @idx:default 5 nobody", "idx:default: has nobody, which is no run"},
    {"ZADD @run:{queued}:children 5 {delayed}", "run:{queued}:children: has {delayed}, which is not its child"},
    {"ZADD @run:gone:children 5 {delayed}", "run:gone:children: is left without its run"},
    {"SET @run:gone:input 1", "run:gone:input: is left without its run"},
    {"SET @run:gone:env 1", "run:gone:env: is left without its run"},
    {"SET @run:gone:logs []", "run:gone:logs: is left without its run"},
    {"XADD @run:gone:events * x y", "run:gone:events: is left without its run"},
    {"SET @run:{queued}:colour red", "run:{queued}:colour: is a key of no kind"},
    {"HINCRBY @def:digest-0-stdout refs 1", "def:digest-0-stdout: counts 1 users too many"},
    {"HSET @def:unused refs 0", "def:unused: is used by nobody"},
    {"ZREM @agents:default bot", "agent:default:bot: is an agent that no list has"},
    {"ZADD @agents:default 0 ghost", "agents:default: names the agent ghost, which is gone"},
    {"HSET @agent:default:bot latest 2", "agent:default:bot: has no newest version"},
    {"HSET @agent:default:bot v2 nothing", "agent:default:bot: has a version v2 without a definition"},
    {"ZREM @leases inc-1", "runner:inc-1: is a runner without a lease"},
    {"ZADD @leases 5 inc-9", "leases: has a lease of inc-9, which is no runner"},
    {"ZADD @held:inc-9 5 {active}", "held:inc-9: holds runs and is no runner"},
    {"ZADD @held:inc-1 5 {queued}", "held:inc-1: has {queued}, which it does not execute"},
    {"ZADD @held:inc-1 5 {active}", "held:inc-1: has {active}, which it executes under another epoch"},
    {"HSET @schedule:team:nightly def digest-0-stdout", "def:digest-0-stdout: counts 1 users too few"},
    {"ZREM @schedules:team nightly", "schedule:team:nightly: is a schedule that no list has"},
    {"ZADD @schedules:team 0 ghost", "schedules:team: names the schedule ghost, which is gone"},
    {"ZREM @ticks team:nightly", "schedule:team:nightly: is not in ticks with its next tick"},
    {"ZADD @ticks 7 team:nightly", "schedule:team:nightly: is not in ticks with its next tick"},
    {"ZADD @ticks 7 team:resting", "schedule:team:resting: is in ticks, and paused or at its end"},
    {"ZADD @ticks 7 team:ghost", "ticks: names the schedule team:ghost, which is gone"},
    {"ZREM @secrets:team KEY", "secret:team:KEY: is a secret that no list has"},
    {"ZADD @secrets:team 0 GHOST", "secrets:team: names the secret GHOST, which is gone"},
    {"HDEL @secret:team:KEY v1", "secret:team:KEY: has no newest version"},
    {"ZREM @workspaces team", "ws:team: is a workspace that no list has"},
    {"HSET @use:team queueMax 9", "ws:team: has another queueMax than stands beside its counters"},
    {"HSET @ws:team bytesMax 9", "ws:team: has another bytesMax than stands beside its counters"},
    {"HSET @ws:team retentionCount 9", "ws:team: has another retention than stands beside its counters"},
    {"ZADD @workspaces 0 ghost", "workspaces: names the workspace ghost, which is gone"},
    {"HSET @queue:other paused 0", "queue:other: has a setting paused that is none"},
    {"ZREM @queues other", "queue:other: is a queue that no list has"},
    {"ZADD @queues 0 ghost", "queues: names the queue ghost, which is gone"},
    {"HSET @queue:other colour red", "queue:other: has a setting colour that is none"},
    {"HSET @tput:default:5 success 1", "tput:default:5: never expires"},
    {"PERSIST @idem:default:key", "idem:default:key: never expires"},
    {"HDEL @hooks:default wh_1", "hook:default:wh_1: is a webhook that no list has"},
    {"HDEL @use:default hooks", "hooks:default: is not what the ends of its workspace's runs look at"},
    {"HSET @hooks:default ghost x", "hooks:default: names the webhook ghost, which is gone"},
    {"DEL @hook:default:wh_1", "delivery:default:wh_1:{delivery}: is left without its webhook"},
    {"ZREM @hooklist:default:wh_1 {delivery}", "delivery:default:wh_1:{delivery}: is a delivery that no list has"},
    {"ZREM @hookdue:default:wh_1 {delivery}",
     "delivery:default:wh_1:{delivery}: is a delivery that nobody will look at"},
    {"ZADD @hooklist:default:wh_1 5 ghost", "hooklist:default:wh_1: names the delivery ghost, which is gone"},
    {"ZADD @hooklease:default:wh_1 5 ghost", "hooklease:default:wh_1: names the delivery ghost, which is gone"},
    {"ZADD @hookdue:default:wh_1 5 ghost", "hookdue:default:wh_1: names the delivery ghost, which is gone"},
    {"ZREM @hookq default:wh_1", "hookdue:default:wh_1: has deliveries that nobody will look at"},
    {"ZADD @hookq 5 default:ghost", "hookq: names default:ghost, which has no deliveries"},
    {"ZADD @follow 5 {queued}", "follow: has {queued}, which is not looked through"},
    {"SET @colour red", "colour: is a key of no kind"},
    {"SET @gate: red", "gate:: is a key of no kind"},
    {"SET @gate:default:k:red 1", "gate:default:k:red: is of a wrong type"},
};

static void run_commands(const struct scene *s, const char *commands)
{
    char text[1024];
    snprintf(text, sizeof(text), "%s", commands);
    char *rest = text;
    for (char *command; (command = strsep(&rest, ";"));) {
        const char *argv[80];
        int argc = 0;
        for (char *word; (word = strsep(&command, " "));) {
            assert_true(argc < (int)ARRAY_LEN(argv));
            argv[argc++] = expand(s, word);
        }
        redisReply *r = redisCommandArgv(s->h->sync, argc, argv, NULL);
        if (!r || r->type == REDIS_REPLY_ERROR)
            fail_msg("%s: %s", commands, r ? r->str : s->h->sync->errstr);
        freeReplyObject(r);
    }
}

/* A line of the text that begins so. */
static bool has_line(const char *text, const char *start)
{
    for (; text && *text; text = strchr(text, '\n'), text = text ? text + 1 : NULL) {
        if (strncmp(text, start, strlen(start)) == 0)
            return true;
    }
    return false;
}

static void break_each(void **state, const struct breakage *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(harness_test_start(state), 0);
        struct harness *h = *state;
        const struct scene *s = build(h);
        run_commands(s, table[i].command);
        const char *found = audit_findings(h), *wanted = expand(s, table[i].found);
        if (!has_line(found, wanted))
            fail_msg("%s\nwas to be found as\n%s\nbut what was found is\n%s", table[i].command, wanted, found);
    }
}

static void test_runs(void **state)
{
    break_each(state, of_runs, ARRAY_LEN(of_runs));
}

static void test_lanes_and_counters(void **state)
{
    break_each(state, of_lanes, ARRAY_LEN(of_lanes));
}

static void test_gates(void **state)
{
    break_each(state, of_gates, ARRAY_LEN(of_gates));
}

static void test_others(void **state)
{
    break_each(state, of_others, ARRAY_LEN(of_others));
}

/* ---- the audit as a whole ---- */

static void count_one(void *ctx, const char *key, const char *what)
{
    assert_true(*key && *what);
    ++*(int *)ctx;
}

static void test_it_only_reads(void **state)
{
    struct harness *h = *state;
    (void)build(h);
    const char *before = rig_dump(h);
    audit_check(h);
    assert_string_equal(rig_dump(h), before);
}

/* More of everything than fits into a batch, a page of a scan, or a small encoding. */
static void test_many(void **state)
{
    struct harness *h = *state;
    struct audit_counts counts;
    int found = 0;
    const char *parent = rig_submit(h, NULL);
    for (int i = 0; i < 700; i++)
        (void)rig_submit(h, &(struct rig_run){.parent = parent, .key_gate = i % 2 ? "k:x=2" : NULL});
    harness_assert_err(audit_shard(h->sync, h->prefix, NULL, count_one, &found, &counts), ERR_OK);
    assert_int_equal(found, 0);
    assert_int_equal(counts.runs, 701);
    assert_int_equal(counts.findings, 0);
    assert_true(counts.counters_judged && counts.keys > 702);
    harness_do(h, "DEL %s", harness_key(h, "idx:default"));
    harness_assert_err(audit_shard(h->sync, h->prefix, NULL, count_one, &found, &counts), ERR_OK);
    assert_int_equal(found, 701);
    assert_int_equal(counts.findings, 701);
}

/* Only its own shard. */
static void test_other_keys(void **state)
{
    struct harness *h = *state;
    harness_do(h, "SET other:{0}:run:x y");
    harness_do(h, "SET errand:{1}:colour red");
    harness_do(h, "SET errand:{g}:secret red");
    audit_check(h);
}

static void no_finding(void *ctx, const char *key, const char *what)
{
    (void)ctx;
    fail_msg("%s: %s: was found where nothing could be read", key, what);
}

static void test_without_redis(void **state)
{
    struct harness *h = *state;
    struct audit_counts counts;
    (void)build(h);
    redisContext *c = harness_connect_sync(h);
    assert_true(c && !c->err);
    harness_redis_kill(h);
    harness_assert_err(audit_shard(c, h->prefix, NULL, no_finding, NULL, &counts), ERR_REDIS_UNAVAILABLE);
    assert_int_equal(counts.findings, 0);
    assert_false(counts.counters_judged);
    redisFree(c);
    harness_redis_launch(h);
    harness_wait_up(h, h->redis, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_runs, harness_test_start),
        cmocka_unit_test_setup(test_lanes_and_counters, harness_test_start),
        cmocka_unit_test_setup(test_gates, harness_test_start),
        cmocka_unit_test_setup(test_others, harness_test_start),
        cmocka_unit_test_setup(test_it_only_reads, harness_test_start),
        cmocka_unit_test_setup(test_many, harness_test_start),
        cmocka_unit_test_setup(test_other_keys, harness_test_start),
        cmocka_unit_test_setup(test_without_redis, harness_test_start),
    };
    return cmocka_run_group_tests(tests, harness_group_start, harness_group_stop);
}
