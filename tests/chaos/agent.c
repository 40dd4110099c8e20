/*
 * The agent of the chaos driver: small and quick, so that thousands can run in a minute, and a witness of its own execution.
 *
 * Usage: agent FOLDER. Its input line says what to do: "events", "group", "pauseUs", "pad" (texts to print), "fail" (attempts that exit with 1), "hang" (wait for ever),
 * "deaf" (ignore SIGTERM), "lock" and "slots" (hold one of that many slots of a limit while it lives).
 *
 * FOLDER/journal gets one line a fact, each by a single append, so that lines never mix:
 *   B run attempt pid ppid realtime_us monotonic_us lock   it began
 *   E run attempt pid ppid realtime_us monotonic_us lock   it is about to end by itself
 *   O run attempt pid lock holder…                         all slots of its limit were taken, by the processes with these pids
 * A slot is a POSIX record lock: the kernel frees it at the holder's death, whatever that was, and names the holder.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char input[65536];
static const char *folder, *run, *attempt;
static char lock_name[128] = "-";

static void die(const char *what)
{
    perror(what);
    _exit(3);
}

/* An integer field of the flat input object; 0 when it is not there. */
static long field(const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(input, key);
    return at ? strtol(at + strlen(key), NULL, 10) : 0;
}

static void read_input(void)
{
    size_t len = 0;
    ssize_t n;
    while (len + 1 < sizeof input && (n = read(0, input + len, sizeof input - 1 - len)) > 0)
        len += (size_t)n;
    input[len] = 0;
    const char *at = strstr(input, "\"lock\":\"");
    if (at)
        sscanf(at + 8, "%100[^\"]", lock_name);
}

static void journal(const char *line)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/journal", folder);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
        die(path);
    close(fd);
}

static long long clock_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void witness(char what)
{
    char line[512];
    snprintf(line, sizeof line, "%c %s %s %ld %ld %lld %lld %s\n", what, run, attempt, (long)getpid(), (long)getppid(),
             clock_us(CLOCK_REALTIME), clock_us(CLOCK_MONOTONIC), lock_name);
    journal(line);
}

/* Takes one slot; when all are taken it says by whom and goes on: what that means is the checker's to decide. */
static void take_slot(long slots)
{
    char path[4096], line[1024];
    snprintf(path, sizeof path, "%s/lock.%s", folder, lock_name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* stays open: closing it would free the slot */
    if (fd < 0)
        die(path);
    int len = snprintf(line, sizeof line, "O %s %s %ld %s", run, attempt, (long)getpid(), lock_name);
    for (long i = 0; i < slots; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1};
        if (fcntl(fd, F_SETLK, &lock) == 0)
            return;
        if (errno != EAGAIN && errno != EACCES)
            die(path);
        if (fcntl(fd, F_GETLK, &lock) != 0)
            die(path);
        if (lock.l_type == F_UNLCK) { /* its holder ended just now */
            i--;
            continue;
        }
        len += snprintf(line + len, sizeof line - (size_t)len, " %ld", (long)lock.l_pid);
    }
    snprintf(line + len, sizeof line - (size_t)len, "\n");
    journal(line);
}

static void pause_us(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    while (us > 0 && nanosleep(&t, &t) != 0)
        ;
}

static void print_texts(void)
{
    long events = field("events"), group = field("group"), pad = field("pad"), pause = field("pauseUs");
    for (long i = 0; i < events; i++) {
        printf("{\"kind\":\"assistant_text\",\"data\":{\"i\":%ld,\"attempt\":%s,\"text\":\"", i, attempt);
        for (long x = 0; x < pad; x++)
            putchar('x');
        printf("\"}}\n");
        if (group > 0 && (i + 1) % group == 0) {
            fflush(stdout);
            pause_us(pause);
        }
    }
}

int main(int argc, char **argv)
{
    folder = argc > 1 ? argv[1] : ".";
    run = getenv("ERRAND_RUN_ID");
    attempt = getenv("ERRAND_ATTEMPT");
    if (!run || !attempt)
        die("no run");
    read_input();
    if (field("deaf"))
        signal(SIGTERM, SIG_IGN);
    witness('B');
    if (field("slots") > 0)
        take_slot(field("slots"));
    print_texts();
    if (atol(attempt) <= field("fail")) {
        fflush(stdout);
        witness('E');
        return 1;
    }
    while (field("hang")) {
        fflush(stdout);
        pause();
    }
    printf("{\"kind\":\"runtime_terminal\",\"data\":{\"status\":\"success\",\"result\":{\"events\":%ld}}}\n",
           field("events"));
    fflush(stdout);
    witness('E');
    return 0;
}
