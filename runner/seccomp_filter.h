/* The system calls that a sandboxed agent may not make, as a BPF program. Pure: builds bytes, loads nothing.
 *
 * Everything that was reviewed is allowed but for the refused (EPERM), and what is newer than the review does not exist (ENOSYS), so that a kernel's next system call is closed until somebody looked at it. Why not the
 * list of all that is allowed: agents are any language's programs, of which each runtime uses its own corner of four hundred harmless calls; what a namespace can be left or the kernel be attacked by is the shorter list,
 * and one that can be argued entry by entry. */
#ifndef ERRAND_RUNNER_SECCOMP_FILTER_H
#define ERRAND_RUNNER_SECCOMP_FILTER_H

#include "common/err.h"
#include "common/strbuf.h"

enum { SECCOMP_FILTER_MAX = 4096 * 8 }; /* bytes: the kernel takes 4096 instructions of 8 */

/* Appends the program of this machine's architecture: struct sock_filter after struct sock_filter. ERR_NO_MEMORY, or ERR_INTERNAL where libseccomp refuses a rule. */
MUST_CHECK enum err seccomp_filter_build(struct strbuf *out);
/* The system calls that are refused whatever their arguments, NULL-terminated. */
extern const char *const seccomp_filter_refused[];

#endif
