#include "api/queue_rows.h"

enum { MINUTE_MS = 60000, FIRST_NODES = 64 };

static int compare(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool queue_rows_init(struct queue_rows *q, struct arena *a, size_t max, struct str only)
{
    *q = (struct queue_rows){.arena = a, .max = max, .rows = arena_alloc(a, max * sizeof *q->rows)};
    if (!q->rows)
        return false;
    if (only.len > 0) {
        q->rows[q->count++] = (struct queue_row){.name = only};
        q->closed = true;
    }
    return true;
}

/* Where the name stands, or would stand. */
static size_t place_of(const struct queue_rows *q, struct str name)
{
    size_t low = 0, high = q->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(q->rows[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct queue_row *queue_rows_get(struct queue_rows *q, struct str name)
{
    size_t at = place_of(q, name);
    if (at < q->count && str_eq(q->rows[at].name, name))
        return &q->rows[at];
    if (q->closed || at == q->max)
        return NULL;
    struct str copy = arena_str(q->arena, name);
    if (!copy.ptr) {
        q->out_of_memory = true;
        return NULL;
    }
    /* The last one gives way when all are there. It does not come back: whoever drops it stands before it. */
    size_t behind = (q->count < q->max ? q->count++ : q->max - 1) - at;
    memmove(&q->rows[at + 1], &q->rows[at], behind * sizeof *q->rows);
    q->rows[at] = (struct queue_row){.name = copy};
    return &q->rows[at];
}

static int compare_nodes(const struct queue_node *a, const struct queue_node *b)
{
    int order = compare(a->name, b->name);
    return order ? order : compare(a->queues, b->queues);
}

static size_t place_of_node(const struct queue_rows *q, const struct queue_node *node)
{
    size_t low = 0, high = q->node_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_nodes(&q->nodes[middle], node) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Room for one more. */
static bool grow_nodes(struct queue_rows *q)
{
    if (q->node_count < q->node_room)
        return true;
    size_t room = q->node_room ? 2 * q->node_room : FIRST_NODES;
    struct queue_node *more = arena_alloc(q->arena, room * sizeof *more);
    if (!more)
        return false;
    if (q->node_count > 0)
        memcpy(more, q->nodes, q->node_count * sizeof *more);
    q->nodes = more;
    q->node_room = room;
    return true;
}

/* What one shard knew is complete: the shards differ only while a node comes or goes, so the most counts. */
static void fold(struct queue_node *n)
{
    n->slots = n->shard_slots > n->slots ? n->shard_slots : n->slots;
    n->busy = n->shard_busy > n->busy ? n->shard_busy : n->busy;
    n->shard_slots = n->shard_busy = 0;
}

bool queue_rows_add_runner(struct queue_rows *q, unsigned shard, struct str name, struct str queues, int64_t slots,
                           int64_t busy)
{
    struct queue_node wanted = {.name = name, .queues = queues, .shard = shard};
    size_t at = place_of_node(q, &wanted);
    if (at == q->node_count || compare_nodes(&q->nodes[at], &wanted) != 0) {
        wanted.name = arena_str(q->arena, name);
        wanted.queues = arena_str(q->arena, queues);
        if (!wanted.name.ptr || !wanted.queues.ptr || !grow_nodes(q))
            return false;
        memmove(&q->nodes[at + 1], &q->nodes[at], (q->node_count++ - at) * sizeof *q->nodes);
        q->nodes[at] = wanted;
    }
    struct queue_node *n = &q->nodes[at];
    if (n->shard != shard)
        fold(n);
    n->shard = shard;
    n->shard_slots += slots;
    n->shard_busy += busy < slots ? busy : slots;
    return true;
}

bool queue_rows_take_slots(struct queue_rows *q)
{
    for (size_t i = 0; i < q->node_count; i++) {
        fold(&q->nodes[i]);
        struct str queues = q->nodes[i].queues, word;
        while (str_next_word(&queues, &word)) {
            struct queue_row *r = queue_rows_get(q, word);
            if (!r && q->out_of_memory)
                return false;
            if (r) {
                r->slots += q->nodes[i].slots;
                r->busy += q->nodes[i].busy;
            }
        }
    }
    return true;
}

int64_t queue_desired_slots(const struct queue_row *r)
{
    if (r->waiting <= 0 || r->paused)
        return r->busy;
    int64_t ended = r->success + r->error + r->stopped;
    double filled = (double)r->waiting; /* slot-minutes of what waits */
    if (ended > 0)
        filled *= (double)r->ended_ms / (double)ended / MINUTE_MS;
    int64_t more = filled < (double)r->waiting ? (int64_t)filled : r->waiting;
    if ((double)more < filled && more < r->waiting)
        more++;
    return r->busy + more > 0 ? r->busy + more : 1;
}

double queue_rate(int64_t n, double minutes)
{
    return (double)(int64_t)((double)n / minutes * 100 + 0.5) / 100;
}
