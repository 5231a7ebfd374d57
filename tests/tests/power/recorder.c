/* Records what a program does to the files of one folder, in the order in which it happens: the
 * test of power cuts preloads this library. FF_POWER_FOLDER is the folder with a slash at its end,
 * and FF_POWER_RECORD the file of the record. Each entry is one letter, the file's name with its
 * length, two numbers and the written bytes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The names of the files that are open, without the folder. */
static char *names[FILES];
static int record = -1;

static const char *inside(const char *path) {
    const char *folder = getenv("FF_POWER_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 ? path + length : NULL;
}

/* Adds an entry. The lock is held, so that the record has the order of the effects. */
static void note(char kind, const char *name, uint64_t at, uint64_t length, const void *data) {
    int before = errno;
    if (record < 0) {
        const char *path = getenv("FF_POWER_RECORD");
        record = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    unsigned char head[2 + NAME_MAX + 16];
    size_t named = strlen(name), size = 0;
    head[size++] = kind;
    head[size++] = named;
    memcpy(head + size, name, named);
    size += named;
    memcpy(head + size, &at, 8);
    memcpy(head + size + 8, &length, 8);
    size += 16;
    if (syscall(SYS_write, record, head, size) != (long)size ||
        (data && syscall(SYS_write, record, data, length) != (long)length))
        abort();
    errno = before;
}

static char *name_of(int fd) {
    return fd >= 0 && fd < FILES ? names[fd] : NULL;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    pthread_mutex_lock(&lock);
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    const char *name = inside(path);
    struct stat found;
    if (fd >= 0 && fd < FILES && name && fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
        free(names[fd]);
        names[fd] = strdup(name);
        if (flags & O_TRUNC)
            note('T', name, 0, 0, NULL);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(function, ...)                                                                        \
    va_list rest;                                                                                  \
    va_start(rest, flags);                                                                         \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                      \
    va_end(rest);                                                                                  \
    return opened(function, path, flags, mode)

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int openat(int folder, const char *path, int flags, ...) { OPEN(folder); }
int openat64(int folder, const char *path, int flags, ...) { OPEN(folder); }

int close(int fd) {
    if (name_of(fd)) {
        pthread_mutex_lock(&lock);
        free(names[fd]);
        names[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return syscall(SYS_close, fd);
}

static ssize_t written(int fd, const void *data, size_t length, off_t at, int moves) {
    char *name = name_of(fd);
    if (!name)
        return moves ? syscall(SYS_write, fd, data, length)
                     : syscall(SYS_pwrite64, fd, data, length, at);
    pthread_mutex_lock(&lock);
    if (moves)
        at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = moves ? syscall(SYS_write, fd, data, length)
                         : syscall(SYS_pwrite64, fd, data, length, at);
    if (done > 0)
        note('W', name, at, done, data);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) { return written(fd, data, length, 0, 1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return written(fd, data, length, at, 0);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return written(fd, data, length, at, 0);
}

static int cut(int fd, off_t length) {
    char *name = name_of(fd);
    if (!name)
        return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_ftruncate, fd, length);
    if (done == 0)
        note('T', name, length, 0, NULL);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut(fd, length); }

static int synced(int fd, long call) {
    char *name = name_of(fd);
    if (!name)
        return syscall(call, fd);
    pthread_mutex_lock(&lock);
    int done = syscall(call, fd);
    if (done == 0)
        note('S', name, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlink(const char *path) {
    const char *name = inside(path);
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (done == 0 && name)
        note('U', name, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
    return done;
}
