/* Preloaded into the processes of a study: counts the calls that change files under a folder, across all
 * processes, and lets the n-th of them fail. SQLite's and Python's calls pass through here alike.
 *
 * The environment variable FAILING_CALLS names a file with a `struct plan`, which every process maps;
 * tests/end_to_end/failing_calls.py writes it, and may change it while processes are running.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct plan {
    atomic_long matching; /* calls so far that match */
    atomic_long failed;   /* calls that were made to fail */
    long fail_at;         /* the matching call that fails, from 1; 0 for none */
    long lasting;         /* whether all matching calls from then on fail, too */
    long half;            /* whether a write that is to fail writes half of its bytes first, and the next fails */
    long error;           /* errno */
    char under[1024];     /* absolute path of the folder; empty: nothing matches */
    char call[32];        /* glob of the names of the calls */
    char path[256];       /* glob of the paths below the folder */
    char log[1024];       /* file that each matching call is appended to; empty for none */
};

static struct plan *plan;

__attribute__((constructor)) static void map_plan(void)
{
    const char *name = getenv("FAILING_CALLS");
    int fd = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    plan = mapped == MAP_FAILED ? NULL : mapped;
}

static void append(const char *file, const char *line)
{
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) {
        (void)!syscall(SYS_write, fd, line, strlen(line));
        syscall(SYS_close, fd);
    }
}

/* Whether the call on an absolute path is to fail. `writes`: bytes can be written before. */
enum verdict { PASS, FAIL, HALF };

static enum verdict judge(const char *call, const char *path, int writes)
{
    size_t length = strlen(plan->under);
    if (length == 0 || strncmp(path, plan->under, length) || (path[length] && path[length] != '/'))
        return PASS;
    const char *below = path[length] ? path + length + 1 : ".";
    if (fnmatch(plan->call, call, 0) || fnmatch(plan->path, below, 0))
        return PASS;
    long number = atomic_fetch_add(&plan->matching, 1) + 1;
    if (plan->log[0]) {
        char line[4200];
        snprintf(line, sizeof line, "%ld %s %s\n", number, call, below);
        append(plan->log, line);
    }
    long first = plan->fail_at;
    if (first == 0 || number < first)
        return PASS;
    if (plan->half && writes && number == first)
        return HALF;
    if (number > first + (plan->half && writes) && !plan->lasting)
        return PASS;
    atomic_fetch_add(&plan->failed, 1);
    errno = plan->error;
    return FAIL;
}

static enum verdict judge_fd(const char *call, int fd, int writes)
{
    if (plan == NULL)
        return PASS;
    char link[64], path[4096];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0)
        return PASS;
    path[length] = 0;
    return judge(call, path, writes);
}

static enum verdict judge_path(const char *call, int folder, const char *name)
{
    if (plan == NULL || name == NULL)
        return PASS;
    if (name[0] == '/')
        return judge(call, name, 0);
    char link[64] = "/proc/self/cwd", path[8192];
    int saved = errno;
    if (folder != AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, path, 4096);
    errno = saved;
    if (length < 0)
        return PASS;
    snprintf(path + length, sizeof path - length, "/%s", name);
    return judge(call, path, 0);
}

#define NEXT(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

#define WRITING(type, name, parameters, whole, half)      \
    type name parameters                                  \
    {                                                     \
        enum verdict verdict = judge_fd(#name, fd, 1);    \
        return verdict == FAIL ? -1 : verdict == HALF ? half : whole; \
    }
WRITING(ssize_t, write, (int fd, const void *bytes, size_t count),
        NEXT(write, fd, bytes, count), NEXT(write, fd, bytes, (count + 1) / 2))
WRITING(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t at),
        NEXT(pwrite, fd, bytes, count, at), NEXT(pwrite, fd, bytes, (count + 1) / 2, at))
WRITING(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off64_t at),
        NEXT(pwrite64, fd, bytes, count, at), NEXT(pwrite64, fd, bytes, (count + 1) / 2, at))
WRITING(ssize_t, writev, (int fd, const struct iovec *parts, int count),
        NEXT(writev, fd, parts, count), NEXT(writev, fd, parts, (count + 1) / 2))

#define ON_FILE(name, parameters, ...)                                                \
    int name parameters                                                               \
    {                                                                                 \
        return judge_fd(#name, fd, 0) == FAIL ? -1 : NEXT(name, __VA_ARGS__);         \
    }
ON_FILE(fsync, (int fd), fd)
ON_FILE(fdatasync, (int fd), fd)
ON_FILE(ftruncate, (int fd, off_t size), fd, size)
ON_FILE(ftruncate64, (int fd, off64_t size), fd, size)

#define ON_NAME(name, parameters, folder, path, ...)                                  \
    int name parameters                                                               \
    {                                                                                 \
        return judge_path(#name, folder, path) == FAIL ? -1 : NEXT(name, __VA_ARGS__); \
    }
ON_NAME(rename, (const char *from, const char *to), AT_FDCWD, to, from, to)
ON_NAME(renameat, (int a, const char *from, int b, const char *to), b, to, a, from, b, to)
ON_NAME(unlink, (const char *name), AT_FDCWD, name, name)
ON_NAME(unlinkat, (int folder, const char *name, int flags), folder, name, folder, name, flags)
ON_NAME(rmdir, (const char *name), AT_FDCWD, name, name)
ON_NAME(mkdir, (const char *name, mode_t mode), AT_FDCWD, name, name, mode)
ON_NAME(mkdirat, (int folder, const char *name, mode_t mode), folder, name, folder, name, mode)

/* Only where the file would be created; `open` and `open64` are one call with two names. */
static int opened(const char *call, int folder, const char *name, int flags, mode_t mode)
{
    if ((flags & O_CREAT) && judge_path(call, folder, name) == FAIL)
        return -1;
    return syscall(SYS_openat, folder, name, flags, mode);
}

#define MODE(flags)                       \
    mode_t mode = 0;                      \
    if (flags & (O_CREAT | O_TMPFILE)) {  \
        va_list rest;                     \
        va_start(rest, flags);            \
        mode = va_arg(rest, mode_t);      \
        va_end(rest);                     \
    }
int open(const char *name, int flags, ...) { MODE(flags) return opened("open", AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened("open", AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags) return opened("open", folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags) return opened("open", folder, name, flags, mode); }
