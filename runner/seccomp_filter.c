#include "runner/seccomp_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* The newest system call that was looked at (set_mempolicy_home_node, Linux 5.17). From 424 on all architectures share their numbers. */
enum { NEWEST_REVIEWED = 450, FAMILIES = 64, NETLINK_PROTOCOLS = 32, LOW_WORD_BITS = 32 };

const char *const seccomp_filter_refused[] = {
    /* the file tree is what it is */
    "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount",
    "fspick", "mount_setattr", "quotactl", "quotactl_fd", "swapon", "swapoff", "nfsservctl",
    /* no other namespaces; clone has rules of its own below */
    "unshare", "setns",
    /* a handle opens files past the mounts that are seen */
    "open_by_handle_at", "name_to_handle_at",
    /* other processes: neither looked into nor written to; also none of one's own, for tracers are how filters were got around */
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    /* large and often broken parts of the kernel that no agent needs */
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "fanotify_init",
    "lookup_dcookie", "vmsplice", "remap_file_pages", "uselib", "ustat", "sysfs", "_sysctl", "vm86", "vm86old",
    "modify_ldt",
    /* keys are the whole machine's: they know no namespace */
    "keyctl", "add_key", "request_key",
    /* the machine itself */
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module", "query_module",
    "get_kernel_syms", "reboot", "syslog", "acct", "iopl", "ioperm", "sethostname", "setdomainname", "vhangup",
    "settimeofday", "stime", "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex",
    /* memory of other nodes and processes */
    "migrate_pages", "move_pages", "mbind", "set_mempolicy", "set_mempolicy_home_node", NULL};

/* The kernel looks at the low 32 bits of an int argument only: a comparison of all 64 would be got around by setting a higher one. */
static struct scmp_arg_cmp low_is(unsigned arg, uint64_t value)
{
    return SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, (UINT64_C(1) << LOW_WORD_BITS) - 1, value);
}

static bool refuse_named(scmp_filter_ctx f)
{
    for (size_t i = 0; seccomp_filter_refused[i]; i++) {
        int nr = seccomp_syscall_resolve_name(seccomp_filter_refused[i]);
        if (nr >= 0 && seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), nr, 0) != 0)
            return false;
    }
    return true;
}

/* A thread or a process, but nothing in namespaces of its own. clone3 keeps its flags where a filter can't see them: programs fall back to clone when it is not there. */
static bool refuse_namespaces(scmp_filter_ctx f)
{
    static const uint64_t flags[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                     CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    bool ok = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        ok = ok && seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                    SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, flags[i], flags[i])) == 0;
    return ok;
}

/* What is typed into a terminal is not the agent's to say, nor is the console's selection. */
static bool refuse_ioctls(scmp_filter_ctx f)
{
    return seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, low_is(1, TIOCSTI)) == 0 &&
           seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, low_is(1, TIOCLINUX)) == 0;
}

/* Unix and internet sockets are what programs use; of netlink the routes alone, by which they list interfaces. Raw ones never. */
static bool refuse_sockets(scmp_filter_ctx f)
{
    static const int internet[] = {AF_INET, AF_INET6};
    bool ok = true;
    for (unsigned family = 0; ok && family < FAMILIES; family++)
        if (family != AF_UNIX && family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
            ok = seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, low_is(0, family)) == 0;
    for (size_t i = 0; ok && i < ARRAY_LEN(internet); i++)
        for (unsigned type = SOCK_RAW; ok && type <= SOCK_PACKET; type++)
            ok = type == SOCK_SEQPACKET ||
                 seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2, low_is(0, (uint64_t)internet[i]),
                                  SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, 0xf, type)) == 0;
    for (unsigned protocol = 1; ok && protocol < NETLINK_PROTOCOLS; protocol++)
        ok = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2, low_is(0, AF_NETLINK),
                              low_is(2, protocol)) == 0;
    return ok;
}

/* errand-exec set the limit of cores to 1, with which no crash handler of the machine is started; with 0 it would be again. Programs that want 0 for their secrets' sake are told that they have it. */
static bool keep_core_limit(scmp_filter_ctx f)
{
    return seccomp_rule_add(f, SCMP_ACT_ERRNO(0), SCMP_SYS(setrlimit), 1, low_is(0, RLIMIT_CORE)) == 0 &&
           seccomp_rule_add(f, SCMP_ACT_ERRNO(0), SCMP_SYS(prlimit64), 2, low_is(1, RLIMIT_CORE),
                            SCMP_CMP64(2, SCMP_CMP_NE, 0, 0)) == 0;
}

/* The oddities, each by its bit; 0xffffffff only asks, and has the top bit, too. */
static bool refuse_personalities(scmp_filter_ctx f)
{
    static const uint64_t bits[] = {READ_IMPLIES_EXEC, ADDR_COMPAT_LAYOUT, MMAP_PAGE_ZERO, ADDR_NO_RANDOMIZE,
                                    SHORT_INODE,       WHOLE_SECONDS,      ADDR_LIMIT_3GB, STICKY_TIMEOUTS};
    const uint64_t query = UINT64_C(1) << (LOW_WORD_BITS - 1);
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(bits); i++)
        ok = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(personality), 1,
                              SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, bits[i] | query, bits[i])) == 0;
    return ok;
}

/* In front of what libseccomp makes, whose jumps are relative: system calls past the review. (x32's carry a high bit, and get its answer for a foreign architecture: a kill.) */
static bool put_ceiling(struct strbuf *out)
{
    static const struct sock_filter first[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, NEWEST_REVIEWED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    strbuf_add(out, (struct str){(const char *)first, sizeof first});
    return !out->failed;
}

/* libseccomp writes to descriptors alone. */
static bool export_program(scmp_filter_ctx f, struct strbuf *out)
{
    char bytes[4096];
    ssize_t n;
    int fd = memfd_create("errand-filter", MFD_CLOEXEC);
    bool ok = fd >= 0 && seccomp_export_bpf(f, fd) == 0 && lseek(fd, 0, SEEK_SET) == 0;
    while (ok && (n = read(fd, bytes, sizeof bytes)) != 0) {
        ok = n > 0;
        if (ok)
            strbuf_add(out, (struct str){bytes, (size_t)n});
    }
    if (fd >= 0)
        close(fd);
    return ok && !out->failed;
}

enum err seccomp_filter_build(struct strbuf *out)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    if (!f)
        return ERR_NO_MEMORY;
    /* Other architectures' numbers mean other calls: whoever comes with them is killed. The many rules as a tree: a few comparisons a call instead of all. */
    bool ok = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0 &&
              seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0 && refuse_named(f) && refuse_namespaces(f) &&
              refuse_ioctls(f) && refuse_sockets(f) && refuse_personalities(f) && keep_core_limit(f) &&
              put_ceiling(out) && export_program(f, out);
    seccomp_release(f);
    return ok ? ERR_OK : ERR_INTERNAL;
}
