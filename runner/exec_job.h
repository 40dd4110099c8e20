/* A command under errand-exec: what the executors process, sandbox and pool start. errand-exec is the subreaper of its tree, limits it, and ends all of it; a control socket carries lines both ways (errand_exec.c). */
#ifndef ERRAND_RUNNER_EXEC_JOB_H
#define ERRAND_RUNNER_EXEC_JOB_H

#include "runner/cgroup.h"

struct exec_job;

enum { EXEC_FDS_MAX = 14 };
enum { EXEC_INPUT_MAX = 4 << 20 }; /* bytes of input that wait for the command to read them */

struct exec_plan {
    const char *exec_path;
    const char *const *command; /* NULL-terminated, at most 500 words */
    const char *const *options; /* more options of errand-exec, NULL-terminated; NULL: none */
    const char *const *env;     /* the whole environment */
    const char *workdir, *private;
    const int *fds; /* descriptors that the command is to have as 4, 5 …; the caller's to close afterwards */
    size_t fd_count;
    struct str input_line; /* the first line, without its newline; empty: none */
    bool stdin_open;       /* no end of file behind it */
    int64_t grace_ms;
    const char *adopt_path; /* a Unix socket for a successor; NULL: it dies with this process */
    int64_t adopt_ms;
};

/* As executor.start; events: started, output and gone. The plan is used up before it returns. */
struct exec_job *exec_job_start(struct loop *l, const struct exec_plan *plan, const struct job_events *events,
                                void *ctx, const char **ret_why);
void exec_job_stop(struct exec_job *job, int64_t grace_ms);
void exec_job_read_output(struct exec_job *job, bool on);
/* As executor.input. */
bool exec_job_input(struct exec_job *job, struct str line, bool last);
/* What is left of it is a successor's to adopt. No callback comes any more. */
void exec_job_leave(struct exec_job *job);
/* Bytes of its output that need not be kept for a successor. */
void exec_job_stored(struct exec_job *job, int64_t out, int64_t err);
/* Takes over what another process left, from byte out_at and err_at of its output on (-1: from what is there). events: adopted, output, gone; where nobody waits there, gone with started false. */
struct exec_job *exec_job_adopt(struct loop *l, struct str handle, int64_t out_at, int64_t err_at,
                                const struct job_events *events, void *ctx, const char **ret_why);
/* What stands in its standard error now comes out at once, through events.output: whoever knows that standard output is at an end needs it before. */
void exec_job_drain_errors(struct exec_job *job);
/* Whether it has written what was not read yet: the pipes themselves are asked. */
bool exec_job_has_output(const struct exec_job *job);
/* errand-exec's process id: all that the command starts is below it. */
int64_t exec_job_tree(const struct exec_job *job);
/* The command's process id; 0 before it has started. */
int64_t exec_job_pid(const struct exec_job *job);
/* What its tree uses: from its control group (NULL: none) what that says, the rest from /proc. */
void exec_job_measure(struct exec_job *job, struct cgroup *group, struct job_stats *ret);
/* From the stored handle alone: whether that process is there. */
enum job_status exec_job_status(struct str handle);

#endif
