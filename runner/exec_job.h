/* A command under errand-exec: what the executors process, sandbox and pool start. errand-exec is the subreaper of its tree, limits it, and ends all of it; a control socket carries lines both ways (errand_exec.c). */
#ifndef ERRAND_RUNNER_EXEC_JOB_H
#define ERRAND_RUNNER_EXEC_JOB_H

#include "runner/executor.h"

struct exec_job;

enum { EXEC_INPUT_MAX = 4 << 20 }; /* bytes of input that wait for the command to read them */

struct exec_plan {
    const char *exec_path;
    const char *const *command; /* NULL-terminated, at most 500 words */
    const char *const *options; /* more options of errand-exec, NULL-terminated; NULL: none */
    const char *const *env;     /* the whole environment */
    const char *workdir, *private;
    struct str input_line; /* the first line, without its newline; empty: none */
    bool stdin_open;       /* no end of file behind it */
    int64_t grace_ms;
};

/* As executor.start; events: started, output and gone. The plan is used up before it returns. */
struct exec_job *exec_job_start(struct loop *l, const struct exec_plan *plan, const struct job_events *events,
                                void *ctx, const char **ret_why);
void exec_job_stop(struct exec_job *job, int64_t grace_ms);
void exec_job_read_output(struct exec_job *job, bool on);
/* As executor.input. */
bool exec_job_input(struct exec_job *job, struct str line, bool last);
/* The command's process id; 0 before it has started. */
int64_t exec_job_pid(const struct exec_job *job);
/* From the stored handle alone: whether that process is there. */
enum job_status exec_job_status(struct str handle);

#endif
