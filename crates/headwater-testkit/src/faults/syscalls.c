/* Loaded into a program before libc (LD_PRELOAD): a wall clock that is off, and an end at the very moment of a sync.
 *
 * The file named by HEADWATER_SYSCALLS is shared with the test, which says in it what is to happen: struct orders. Without
 * an order, every call does what it always does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
    int64_t clock_seconds; /* added to the wall clock */
    int64_t before_sync;   /* killed when the journal is to be synced for this many-th time from now on; 0: not */
    int64_t after_sync;    /* the same, when the sync has succeeded and nobody knows of it yet */
};

static struct orders none;
static struct orders *orders = &none;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_gettimeofday)(struct timeval *, void *);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_gettimeofday = dlsym(RTLD_NEXT, "gettimeofday");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("HEADWATER_SYSCALLS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *shared = mmap(0, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED) orders = shared;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = real_clock_gettime(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += __atomic_load_n(&orders->clock_seconds, __ATOMIC_RELAXED);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int failed = real_gettimeofday(now, zone);
    if (!failed) now->tv_sec += __atomic_load_n(&orders->clock_seconds, __ATOMIC_RELAXED);
    return failed;
}

static int of_the_journal(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/journal/") != 0;
}

static void count_down(int64_t *left) {
    if (__atomic_load_n(left, __ATOMIC_SEQ_CST) > 0 && __atomic_sub_fetch(left, 1, __ATOMIC_SEQ_CST) == 0)
        kill(getpid(), SIGKILL);
}

int fdatasync(int file) {
    if (!of_the_journal(file)) return real_fdatasync(file);
    count_down(&orders->before_sync);
    int failed = real_fdatasync(file);
    if (!failed) count_down(&orders->after_sync);
    return failed;
}
