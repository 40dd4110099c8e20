/* The sandbox's seccomp program, executed here by an interpreter of its own: what is answered to which system call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>

#include "runner/seccomp_filter.h"

#define REFUSED(e) (SECCOMP_RET_ERRNO | (e))
#define HIGH       (UINT64_C(1) << 32)

#if defined(__x86_64__)
#define ARCH  AUDIT_ARCH_X86_64
#define OTHER AUDIT_ARCH_I386
#else
#define ARCH  AUDIT_ARCH_AARCH64
#define OTHER AUDIT_ARCH_ARM
#endif

static struct strbuf program;

static int set_up(void **state)
{
    (void)state;
    strbuf_init(&program, SECCOMP_FILTER_MAX);
    return seccomp_filter_build(&program) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    strbuf_done(&program);
    return 0;
}

static uint32_t answer(const struct seccomp_data *d)
{
    const struct sock_filter *f = (const struct sock_filter *)(const void *)program.ptr;
    size_t n = program.len / sizeof *f;
    uint32_t a = 0;
    for (size_t at = 0; at < n; at++) {
        uint32_t k = f[at].k;
        switch (f[at].code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(k % 4 == 0 && k + 4 <= sizeof *d);
            memcpy(&a, (const char *)d + k, 4);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= k;
            break;
        case BPF_JMP | BPF_JA:
            at += k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += a == k ? f[at].jt : f[at].jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            at += a > k ? f[at].jt : f[at].jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            at += a >= k ? f[at].jt : f[at].jf;
            break;
        case BPF_RET | BPF_K:
            return k;
        default:
            fail_msg("an instruction that is not known: %x", f[at].code);
        }
    }
    fail_msg("the program does not return");
    return 0;
}

static uint32_t call(int nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
    return answer(&(struct seccomp_data){.nr = nr, .arch = ARCH, .args = {a0, a1, a2}});
}

static void test_it_fits_the_kernel(void **state)
{
    (void)state;
    assert_true(program.len > 0 && program.len % sizeof(struct sock_filter) == 0);
    assert_true(program.len / sizeof(struct sock_filter) <= BPF_MAXINSNS);
}

static void test_the_refused(void **state)
{
    size_t known = 0;
    (void)state;
    for (size_t i = 0; seccomp_filter_refused[i]; i++) {
        int nr = seccomp_syscall_resolve_name(seccomp_filter_refused[i]);
        if (nr < 0) /* of other architectures */
            continue;
        known++;
        if (call(nr, 0, 0, 0) != REFUSED(EPERM) || call(nr, ~UINT64_C(0), ~UINT64_C(0), 0) != REFUSED(EPERM))
            fail_msg("%s is let through", seccomp_filter_refused[i]);
    }
    assert_true(known > 60);
}

static void test_what_programs_need(void **state)
{
    static const char *const names[] = {
        "read",   "write",     "openat", "execve",  "execveat",   "mmap",         "futex",
        "fork",   "vfork",     "wait4",  "kill",    "connect",    "accept4",      "bind",
        "listen", "getrandom", "prctl",  "seccomp", "epoll_wait", "memfd_create", "landlock_create_ruleset",
        "rseq",   "statx"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int nr = seccomp_syscall_resolve_name(names[i]);
        if (nr >= 0 && call(nr, 0, 0, 0) != SECCOMP_RET_ALLOW)
            fail_msg("%s is refused", names[i]);
    }
}

static void test_namespaces_by_clone(void **state)
{
    static const uint64_t flags[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                     CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    const uint64_t thread =
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
    (void)state;
    assert_int_equal(call(SCMP_SYS(clone), thread, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(call(SCMP_SYS(clone), 17, 0, 0), SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        assert_int_equal(call(SCMP_SYS(clone), thread | flags[i], 0, 0), REFUSED(EPERM));
    assert_int_equal(call(SCMP_SYS(clone3), 0, 0, 0), REFUSED(ENOSYS));
}

static void test_sockets(void **state)
{
    static const struct {
        uint64_t family, type, protocol;
        uint32_t answer;
    } rows[] = {
        {AF_UNIX, SOCK_STREAM, 0, SECCOMP_RET_ALLOW},
        {AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 6, SECCOMP_RET_ALLOW},
        {AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 17, SECCOMP_RET_ALLOW},
        {AF_NETLINK, SOCK_RAW, 0, SECCOMP_RET_ALLOW},
        {AF_NETLINK, SOCK_RAW, 12, REFUSED(EPERM)},
        {AF_NETLINK, SOCK_RAW, HIGH | 12, REFUSED(EPERM)},
        {AF_INET, SOCK_RAW, 1, REFUSED(EPERM)},
        {AF_INET, SOCK_RAW | SOCK_CLOEXEC, 1, REFUSED(EPERM)},
        {HIGH | AF_INET, HIGH | SOCK_RAW, 1, REFUSED(EPERM)},
        {AF_INET6, SOCK_RAW, 58, REFUSED(EPERM)},
        {AF_INET, SOCK_PACKET, 0, REFUSED(EPERM)},
        {AF_PACKET, SOCK_DGRAM, 0, REFUSED(EAFNOSUPPORT)},
        {HIGH | AF_PACKET, SOCK_DGRAM, 0, REFUSED(EAFNOSUPPORT)},
        {AF_VSOCK, SOCK_STREAM, 0, REFUSED(EAFNOSUPPORT)},
        {AF_ALG, SOCK_SEQPACKET, 0, REFUSED(EAFNOSUPPORT)},
        {AF_BLUETOOTH, SOCK_STREAM, 0, REFUSED(EAFNOSUPPORT)},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (call(SCMP_SYS(socket), rows[i].family, rows[i].type, rows[i].protocol) != rows[i].answer)
            fail_msg("row %zu", i);
}

static void test_arguments(void **state)
{
    (void)state;
    assert_int_equal(call(SCMP_SYS(ioctl), 0, TCGETS, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(call(SCMP_SYS(ioctl), 0, TIOCSTI, 0), REFUSED(EPERM));
    assert_int_equal(call(SCMP_SYS(ioctl), 0, HIGH | TIOCSTI, 0), REFUSED(EPERM));
    assert_int_equal(call(SCMP_SYS(ioctl), 0, TIOCLINUX, 0), REFUSED(EPERM));
    assert_int_equal(call(SCMP_SYS(personality), 0xffffffff, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(call(SCMP_SYS(personality), 0, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(call(SCMP_SYS(personality), READ_IMPLIES_EXEC, 0, 0), REFUSED(EPERM));
    assert_int_equal(call(SCMP_SYS(personality), ADDR_NO_RANDOMIZE | 8, 0, 0), REFUSED(EPERM));
}

static void test_what_was_not_reviewed_is_not_there(void **state)
{
    (void)state;
    assert_int_equal(call(450, 0, 0, 0), REFUSED(EPERM)); /* the newest that was, and it is one of the refused */
    for (int nr = 451; nr < 600; nr++)
        assert_int_equal(call(nr, 0, 0, 0), REFUSED(ENOSYS));
}

static void test_other_architectures_are_killed(void **state)
{
    (void)state;
    assert_int_equal(answer(&(struct seccomp_data){.nr = 1, .arch = OTHER}), SECCOMP_RET_KILL_PROCESS);
#if defined(__x86_64__)
    assert_int_equal(call(0x40000000 | 1, 0, 0, 0), SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(call(0x40000000 | 520, 0, 0, 0), SECCOMP_RET_KILL_PROCESS);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_fits_the_kernel),
        cmocka_unit_test(test_the_refused),
        cmocka_unit_test(test_what_programs_need),
        cmocka_unit_test(test_namespaces_by_clone),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_what_was_not_reviewed_is_not_there),
        cmocka_unit_test(test_other_architectures_are_killed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
