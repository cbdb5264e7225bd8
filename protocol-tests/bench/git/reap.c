/* Stands between fcgiwrap and a CGI program to count what the program and its children cost.
 *
 * fcgiwrap ignores SIGCHLD, and the kernel credits nobody with the time of children that are reaped that way. So this
 * program waits for the child instead, and adds its usage to three counters in a shared file: microseconds of CPU,
 * blocks of 512 bytes written, runs. Its own cost is not counted, which favours the peer by a fork and an exec.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

int main(void) {
    char *program = getenv("BENCH_PROGRAM"), *file = getenv("BENCH_COUNTERS");
    char *arguments[] = {program, NULL};
    if (!program || !file) return 1;
    int counters_fd = open(file, O_RDWR | O_CLOEXEC);
    uint64_t *counters = mmap(NULL, 3 * sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, counters_fd, 0);
    if (counters == MAP_FAILED) return 1;
    pid_t child;
    if (posix_spawn(&child, program, NULL, NULL, arguments, environ) != 0) return 1;
    int status;
    struct rusage usage;
    if (wait4(child, &status, 0, &usage) != child) return 1;
    uint64_t micros = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * UINT64_C(1000000)
        + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    __atomic_fetch_add(&counters[0], micros, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters[1], (uint64_t)usage.ru_oublock, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters[2], 1, __ATOMIC_RELEASE);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
