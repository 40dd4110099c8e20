/* What errand-exec is started with: its descriptors, whatever numbers they have here, its signals, its words. The child is this program itself, which says what it finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/exec_spawn.h"

enum { MORE = 3, ALL = EXEC_STDIO + MORE };

static unsigned long long file_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (unsigned long long)st.st_ino : 0;
}

/* In the child: the files behind 0 to 6, how many others are open, whether SIGPIPE kills, how many signals are blocked, and all words. */
static int tell(int argc, char **argv)
{
    char text[2048];
    size_t n = 0;
    struct sigaction pipe;
    sigset_t mask;
    int more = 0, blocked = 0;
    for (int fd = 0; fd < ALL; fd++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%llu ", file_of(fd));
    for (int fd = ALL; fd < 1000; fd++)
        more += file_of(fd) != 0;
    sigaction(SIGPIPE, NULL, &pipe);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int i = 1; i < 32; i++)
        blocked += sigismember(&mask, i) == 1;
    n += (size_t)snprintf(text + n, sizeof text - n, "%d %d %d", more, pipe.sa_handler == SIG_DFL, blocked);
    for (int i = 1; i < argc; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, " %s", argv[i]);
    return write(1, text, n) == (ssize_t)n ? 0 : 1;
}

static void test_what_it_finds(void **state)
{
    (void)state;
    /* Four descriptors of numbers as a busy process has them, then all of them on each other's places. */
    for (int low = 0; low < 2; low++) {
        int ends[2], files[ALL], fds[ALL];
        unsigned long long wanted[ALL];
        char text[4096] = {0}, expected[4096];
        size_t n = 0;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        for (int i = 0; i < ALL; i++) {
            char name[] = "/tmp/errand-spawn-XXXXXX";
            files[i] = mkostemp(name, O_CLOEXEC);
            assert_true(files[i] >= 0 && unlink(name) == 0);
            fds[i] = fcntl(i == 1 ? ends[1] : files[i], F_DUPFD_CLOEXEC, 50);
            wanted[i] = file_of(fds[i]);
        }
        pid_t pid = fork(); /* where 0 to 6 may be anything */
        assert_true(pid >= 0);
        if (pid == 0) {
            if (low) {
                for (int i = 0; i < ALL; i++) { /* the i-th stands at the place of the one behind it */
                    dup3(fds[i], (i + 1) % ALL, O_CLOEXEC);
                    fds[i] = (i + 1) % ALL;
                }
            }
            signal(SIGPIPE, SIG_IGN);
            sigset_t all;
            sigfillset(&all);
            sigprocmask(SIG_SETMASK, &all, NULL);
            const char *const command[] = {"agent", "--", "word", NULL}, *const options[] = {"--cgroup", "/g", NULL};
            const char *const env[] = {"TELL=1", NULL};
            struct exec_plan plan = {.exec_path = "/proc/self/exe",
                                     .command = command,
                                     .options = options,
                                     .env = env,
                                     .workdir = "/w",
                                     .private = "/p",
                                     .fds = fds + EXEC_STDIO,
                                     .fd_count = MORE,
                                     .grace_ms = 7,
                                     .adopt_path = "/s",
                                     .adopt_ms = 9};
            int status = 1;
            pid_t child = exec_spawn(&plan, low, fds);
            _exit(child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : 1);
        }
        close(ends[1]);
        for (int i = 0; i < ALL; i++) {
            close(fds[i]);
            close(files[i]);
        }
        for (ssize_t got = 1; got > 0; n += (size_t)got)
            assert_true((got = read(ends[0], text + n, sizeof text - 1 - n)) >= 0);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        size_t at = 0;
        for (int i = 0; i < ALL; i++)
            at += (size_t)snprintf(expected + at, sizeof expected - at, "%llu ", wanted[i]);
        snprintf(expected + at, sizeof expected - at,
                 "0 1 0 --grace-ms 7 --workdir /w --private /p --rlimit-core 1 --keep-fds 3%s --cgroup /g -- agent "
                 "-- word",
                 low ? " --adopt /s --adopt-ms 9" : "");
        assert_string_equal(text, expected);
        close(ends[0]);
    }
}

static void test_what_is_not_there(void **state)
{
    (void)state;
    const char *const none[] = {NULL};
    const int stdio[EXEC_STDIO] = {0, 1, 2, 2};
    struct exec_plan plan = {
        .exec_path = "/nowhere/errand-exec", .command = none, .env = none, .workdir = "/", .private = "/"};
    assert_int_equal(exec_spawn(&plan, false, stdio), -ENOENT);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
}

int main(int argc, char **argv)
{
    if (getenv("TELL"))
        return tell(argc, argv);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* what this program was itself started with */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_it_finds), cmocka_unit_test(test_what_is_not_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
