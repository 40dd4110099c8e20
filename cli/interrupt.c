#include "cli/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"

/* One-time set-up, and the count of what came. */
static int fd = -1;
static unsigned came;

void interrupt_begin(void)
{
    if (fd >= 0)
        return;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        /* A blocked signal is read although it is ignored: what nohup asked for would be lost. */
        struct sigaction inherited;
        if (sigaction(signals[i], NULL, &inherited) == 0 && inherited.sa_handler != SIG_IGN)
            sigaddset(&set, signals[i]);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int interrupt_fd(void)
{
    return fd;
}

bool interrupted(void)
{
    struct signalfd_siginfo info;
    while (fd >= 0 && read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        came++;
    return came > 0;
}

unsigned interrupt_count(void)
{
    return came;
}

bool interrupt_wait(int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    while (!interrupted()) {
        int64_t left = until - clock_mono_ms();
        if (left <= 0)
            return false;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
            return interrupted();
    }
    return true;
}
