#include "cli/doctor_audit.h"

#include <stdlib.h>
#include <time.h>

#include "cli/audit.h"
#include "cli/audit_tally.h"
#include "cli/output.h"
#include "cli/redis_sync.h"
#include "common/json.h"
#include "common/keys.h"
#include "common/redis_url.h"

/* What is wrong only for a moment, because a run moved between two looks, is not found twice in a row. */
#define LOOKS          3
#define BETWEEN_MS     1500
#define SHOWN          100
#define TIMEOUT_MS     30000 /* of one answer */
#define FINDING_MAX    1200
#define REMEMBERED_MAX (4U << 20) /* findings of a look, at most: more are alike */

struct look {
    struct cli *cli;
    int number; /* from 1 */
    unsigned shard;
    struct tally seen; /* finding → the last look that had it */
    int64_t runs, keys;
    int64_t findings,
        candidates; /* of this look: those that the look before had too (in the first one: all), and all */
    bool counters_judged;
    char *shown[SHOWN]; /* "shard\tkey\twhat" */
    size_t shown_len;
    bool no_memory;
};

static void forget_shown(struct look *l)
{
    for (size_t i = 0; i < l->shown_len; i++)
        free(l->shown[i]);
    l->shown_len = 0;
}

static void on_finding(void *ctx, const char *key, const char *what)
{
    struct look *l = ctx;
    char line[FINDING_MAX];
    snprintf(line, sizeof(line), "%u\t%s\t%s", l->shard, key, what);
    l->candidates++;
    if (l->seen.used >= REMEMBERED_MAX && tally_get(&l->seen, line) == 0)
        return;
    int64_t *last = tally_at(&l->seen, line, false);
    if (!last) {
        l->no_memory = true;
        return;
    }
    bool before = *last == l->number - 1, again = *last == l->number;
    *last = l->number;
    if (again || (!before && l->number > 1))
        return; /* told twice in this look; or the look before had it not */
    l->findings++;
    if (l->shown_len < SHOWN && (l->shown[l->shown_len] = strdup(line)))
        l->shown_len++;
}

static int unreachable(struct look *l, const char *why)
{
    cli_say("shard %u can't be read: %s", l->shard, why);
    return EXIT_UNREACHABLE;
}

static int look_at_shard(struct look *l, const struct doctor_audit *o)
{
    char url[1024];
    if (!redis_url_of_shard(o->urls, l->shard, url, sizeof(url)))
        return unreachable(l, "its URL is too long");
    struct strbuf why;
    strbuf_init(&why, 1024);
    redisContext *c = redis_sync_connect(url, &o->login, TIMEOUT_MS, &why);
    int status = EXIT_OK;
    if (c) {
        struct key prefix = keys_shard(str_of(o->prefix), l->shard);
        struct audit_counts counts;
        enum err err =
            audit_shard(c, key_str(&prefix), &(struct audit_options){.events = o->events}, on_finding, l, &counts);
        l->runs += counts.runs;
        l->keys += counts.keys;
        l->counters_judged &= counts.counters_judged;
        if (err != ERR_OK || l->no_memory)
            status = unreachable(l, err == ERR_NO_MEMORY || l->no_memory ? "out of memory"
                                    : c->err                             ? c->errstr
                                             : "a command was refused: this takes the rights "
                                               "of errand-doctor in docker/users.acl");
        redisFree(c);
    } else {
        status = unreachable(l, why.ptr ? why.ptr : "out of memory");
    }
    strbuf_done(&why);
    return status;
}

static int look(struct look *l, const struct doctor_audit *o)
{
    forget_shown(l);
    l->runs = l->keys = l->findings = l->candidates = 0;
    l->counters_judged = true;
    int status = EXIT_OK;
    for (l->shard = 0; l->shard < o->shards && status == EXIT_OK; l->shard++)
        status = look_at_shard(l, o);
    return status;
}

static void print_json(const char *line)
{
    char copy[FINDING_MAX];
    snprintf(copy, sizeof(copy), "%s", line);
    char *key = strchr(copy, '\t') + 1, *what = strchr(key, '\t') + 1;
    what[-1] = '\0';
    struct strbuf out;
    struct json_writer w;
    strbuf_init(&out, 16384);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_kv_int(&w, "shard", strtol(copy, NULL, 10));
    json_kv_str(&w, "key", str_of(key));
    json_kv_str(&w, "what", str_of(what));
    json_object_end(&w);
    printf("%.*s\n", (int)out.len, out.ptr);
    strbuf_done(&out);
}

static void print_text(const struct look *l, const char *line)
{
    size_t shard = strcspn(line, "\t"), key = strcspn(line + shard + 1, "\t");
    printf("%s✘%s shard %.*s: %.*s: %s\n", tone_on(l->cli, TONE_BAD), tone_off(l->cli, TONE_BAD), (int)shard, line,
           (int)key, line + shard + 1, line + shard + 1 + key + 1);
}

static void print_result(const struct look *l)
{
    for (size_t i = 0; i < l->shown_len; i++) {
        if (l->cli->json)
            print_json(l->shown[i]);
        else
            print_text(l, l->shown[i]);
    }
    if (l->cli->json) {
        printf("{\"runs\":%lld,\"keys\":%lld,\"findings\":%lld,\"countersJudged\":%s}\n", (long long)l->runs,
               (long long)l->keys, (long long)l->findings, l->counters_judged ? "true" : "false");
        return;
    }
    if (l->findings > (int64_t)l->shown_len)
        printf("… and %lld more\n", (long long)(l->findings - (int64_t)l->shown_len));
    printf("audit: %lld runs, %lld findings\n", (long long)l->runs, (long long)l->findings);
    if (!l->counters_judged)
        printf("the counters moved while the runs were read, and were not judged: try again in a quiet moment\n");
}

int doctor_audit(struct cli *cli, const struct doctor_audit *o)
{
    struct look l = {.cli = cli};
    int status = EXIT_OK;
    for (l.number = 1;; l.number++) {
        status = look(&l, o);
        /* Counters that moved get another chance, too. */
        if (status != EXIT_OK || l.number == LOOKS || (l.candidates == 0 && l.counters_judged))
            break;
        const struct timespec pause = {.tv_sec = BETWEEN_MS / 1000, .tv_nsec = BETWEEN_MS % 1000 * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
    if (status == EXIT_OK) {
        print_result(&l);
        status = l.findings > 0 ? EXIT_RUN_ERROR : EXIT_OK;
    }
    forget_shown(&l);
    tally_done(&l.seen);
    return status;
}
