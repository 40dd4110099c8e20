/* The executor interface: how an attempt becomes a process, a container or a remote call. The rest of the runner knows executors only through this table; adding one is a file and a row in executor.c.
 * Contract: executors.md. Everything belongs to the loop's thread. Callbacks come from the loop, never from inside a call. */
#ifndef ERRAND_RUNNER_EXECUTOR_H
#define ERRAND_RUNNER_EXECUTOR_H

#include "common/config.h"
#include "common/loop.h"

struct bundles;
struct cgroups;
struct executor_self; /* what an executor keeps for this runner */
struct job;           /* one attempt of it; what start() returns */
struct workdirs;

enum job_stream { JOB_STDOUT, JOB_STDERR };
enum job_status { JOB_QUEUED, JOB_PROVISIONING, JOB_RUNNING, JOB_STOPPING, JOB_TERMINATED, JOB_FAILED };
enum job_network { NETWORK_HOST, NETWORK_NONE, NETWORK_FILTERED };

/* 0: not limited. */
struct job_limits {
    int64_t memory_bytes;
    int64_t cpu_milli; /* thousandths of a processor */
    int64_t pids;
    int64_t disk_bytes; /* what it may write in its private folder */
};

struct job_spec {
    struct str run_id, workspace, agent, provider;
    int64_t attempt;
    const char *const
        *command;           /* NULL-terminated; NULL where the executor's own start is meant (an image's, a remote) */
    const char *const *env; /* "KEY=value", NULL-terminated: the whole environment */
    const char *workdir;    /* where the command starts; NULL where the executor is not local */
    const char *private;    /* the attempt's own folder, 0700; NULL where the executor is not local */
    const char *code;       /* the unpacked bundle, read-only and shared; NULL where there is none */
    struct str code_digest; /* its digest; empty where there is none */
    const char *storage_socket;                        /* a Unix socket that it reaches its storage by; NULL for none */
    const char *image, *url, *region, *model, *system; /* NULL where the definition does not say it */
    struct job_limits limits;
    enum job_network network;
    const char *const *allow_hosts; /* of NETWORK_FILTERED, NULL-terminated; never NULL itself */
    struct str input_line; /* written to standard input without a newline of its own, which the executor adds */
    bool stdin_open;       /* more lines may follow (input()); else end of file comes behind the first */
    bool remote_events;    /* eventSource remote: its output is only log */
    struct str input;      /* the run's input, raw JSON: what input_line has, too */
    struct str protocol;
    struct str definition; /* canonical JSON: what only one executor knows, it reads from here */
    int64_t grace_ms;      /* for what is left of the tree when the command itself has ended */
    int64_t out_at,
        err_at; /* of adopt(): how many bytes of its output are stored already; -1: nobody knows, and nobody minds */
    bool adoptable;     /* it is to outlive this process, for as long as a lease, so that a successor can adopt it */
    int64_t timeout_ms; /* the runner ends it then; told to remote machines as their last line of defence */
};

struct job_exit {
    bool started; /* the command ran */
    bool signaled;
    int code; /* exit status, or the signal */
    const char *class
        ; /* an error class of the contract that the exit itself does not tell (oom_killed, agent_error, start_failed …); static, NULL for none */
    const char *message; /* with class, or why it could not be started; NULL otherwise. Borrowed during the call */
};

/* Newest figures; what is not known is below 0. */
struct job_stats {
    double cpu_percent; /* of one processor, since the last look */
    int64_t memory_bytes, network_rx_bytes, network_tx_bytes;
};

struct job_events {
    /* It runs. handle: a JSON object of strings that names it outside, stored in the run's record; status, adopt and stop of another process work from it alone. */
    void (*started)(void *ctx, struct str handle);
    /* Bytes of its output, borrowed. */
    void (*output)(void *ctx, enum job_stream stream, struct str bytes);
    /* Of adopt(), once, before any output: what it was started with ("KEY=value", each ended by NUL; borrowed), and its private folder ("" for none). */
    void (*adopted)(void *ctx, struct str env, const char *private);
    /* What measure() asked for. */
    void (*stats)(void *ctx, const struct job_stats *stats);
    /* Nothing of it is left and its output was read to the end. The last call; the job is freed after the turn. */
    void (*gone)(void *ctx, const struct job_exit *how);
};

struct job_snapshot {
    enum job_status status;
    const char *error_class, *error_message; /* NULL for none; borrowed */
};
typedef void (*job_status_fn)(void *ctx, const struct job_snapshot *s);

/* An attempt that is not to be swept: somebody still owns it. */
struct job_owner {
    struct str run_id;
    int64_t attempt;
};

/* What all executors of a runner are opened with; lives as long as they do. */
struct executor_context {
    const struct config *config;
    struct loop *loop;
    const char *exec_path; /* errand-exec */
    struct cgroups *
        cgroups; /* opened and closed with the executors; never NULL for them, but may be able to do nothing (cgroup.h) */
    const struct workdirs *workdirs; /* where private folders are made (workdir.h); by the first job they can be */
    struct bundles *bundles;         /* NULL where no executor is local; bundles_hold keeps one beyond its attempt */
};

struct executor {
    const char *name;
    bool local;          /* it starts processes here: wants a private folder, and bundles unpacked */
    bool silent;         /* its jobs have no output, no handle, and no use for an environment */
    bool remote_default; /* eventSource is remote unless the agent says otherwise */
    /* Once, before any job, where ERRAND_EXECUTORS names it: finds out by really trying what it can do on this machine. May block for some seconds. On an error ret_why says what is missing. */
    enum err (*open)(const struct executor_context *x, struct executor_self **ret_self, struct strbuf *ret_why);
    /* When no job is left. Takes NULL. */
    void (*close)(struct executor_self *self);
    /* The runner drains: what was only kept for later goes. Jobs may still be started. NULL: there is no such thing. */
    void (*drain)(struct executor_self *self);
    /* Whether it enforces a capability on this machine, as open() found out. */
    bool (*supports)(const struct executor_self *self, const char *capability);
    /* Idempotent by run and attempt: what a lost runner had started for the same attempt is taken, not doubled. The spec and what it points to are copied or used up before it returns.
     * NULL: *ret_why says why (static); no callback comes then. */
    struct job *(*start)(struct executor_self *self, const struct job_spec *spec, const struct job_events *events,
                         void *ctx, const char **ret_why);
    /* SIGTERM to the whole of it, SIGKILL after grace_ms. Idempotent; a shorter grace replaces a longer one. gone() comes when nothing is left. */
    void (*stop)(struct job *job, int64_t grace_ms);
    /* Whether its output is read: false lets it block on its pipes. */
    void (*read_output)(struct job *job, bool on);
    /* One more line for its standard input, without the newline; `last` closes it (the line may be STR_NONE then). False: it takes no input, or too much waits to be read by it. NULL: none of its kind does. */
    bool (*input)(struct job *job, struct str line, bool last);
    /* stats() is to come, perhaps; once at most for each call. NULL: nothing is known. */
    void (*measure)(struct job *job);
    /* From the stored handle alone; fn is called once, perhaps before this returns. */
    void (*status)(struct executor_self *self, struct str handle, job_status_fn fn, void *ctx);
    /* Of an adoptable one: the events of so many bytes of its output are stored. NULL: it does not keep output. */
    void (*stored)(struct job *job, int64_t out, int64_t err);
    /* This process is about to end, and a successor may adopt the job: lets go of it without ending it. No callback comes any more. NULL: none of its kind can be left. */
    void (*leave)(struct job *job);
    /* Takes over what an earlier runner on this machine left running (--adopt); spec: what is known without the folder and environment. started() is not called again. NULL: can't be done. */
    struct job *(*adopt)(struct executor_self *self, struct str handle, const struct job_spec *spec,
                         const struct job_events *events, void *ctx, const char **ret_why);
    /* Once after open(): ends what an earlier runner of this node left, but for the attempts in keep. NULL: nothing of its kind can be left. */
    void (*sweep)(struct executor_self *self, const struct job_owner *keep, size_t n);
    /* Where a person can look at it. False: nowhere. NULL: never. */
    bool (*console_url)(struct str handle, struct strbuf *out);
};

/* By name, or NULL. executor_at(i): the i-th, NULL past the end. */
const struct executor *executor_find(struct str name);
const struct executor *executor_at(size_t i);
/* A handle as the record keeps it: with "consoleUrl" where the executor knows one. */
void executor_handle(const struct executor *e, struct str handle, struct strbuf *out);
/* The place of an executor in the table. */
size_t executor_index(const struct executor *e);
enum { EXECUTORS_MAX = 8 };
extern const struct executor executor_process, executor_sandbox, executor_pool, executor_http, executor_anthropic,
    executor_container, executor_fly, executor_noop;

/* The contract's capabilities; NULL-terminated. */
extern const char *const executor_capabilities[];

/* Checks words of ERRAND_EXECUTORS and opens each; sets x->cgroups. x must stay. self: EXECUTORS_MAX places, NULL where not named. ERR_CONFIG with a sentence. */
MUST_CHECK enum err executors_open(struct executor_context *x, struct executor_self **ret_self, bool *ret_open,
                                   struct strbuf *ret_why);
/* Ends what earlier runners of this node left running here, but for the attempts in keep. After executors_open, before the first claim. */
void executors_sweep(const struct executor_context *x, struct executor_self **self, const bool *open,
                     const struct job_owner *keep, size_t n);
void executors_drain(struct executor_self **self, const bool *open);
void executors_close(struct executor_context *x, struct executor_self **self, const bool *open);

#endif
