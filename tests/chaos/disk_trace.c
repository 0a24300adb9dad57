/* Preloaded into a process under test: writes down every change it makes to the files below one folder, in order, and
 * can end the process (SIGKILL) before any one of them. Read by disk_trace.py, which says what a record looks like.
 * Changes are made by raw system calls, one at a time under a lock, so that the order written down is the true one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static long kill_before = -1, operations = 0, fail_every = 0, syncs = 0;
static unsigned char watched[FILES];

struct __attribute__((packed)) head {
    char what;
    uint64_t file;
    int64_t offset;
    uint32_t length, length2;
};

static void put(const void *data, size_t length) {
    const char *at = data;
    while (length) {
        ssize_t written = syscall(SYS_write, log_file, at, length);
        if (written <= 0) return;
        at += written;
        length -= (size_t)written;
    }
}

static void note(char what, uint64_t file, int64_t offset, const void *one, size_t length, const void *two,
                 size_t length2) {
    struct head head = {what, file, offset, (uint32_t)length, (uint32_t)length2};
    if (log_file < 0) return;
    put(&head, sizeof head);
    if (length) put(one, length);
    if (length2) put(two, length2);
}

static void count(void) {
    if (++operations == kill_before) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

static uint64_t inode(int file) {
    struct stat found;
    int before = errno;
    uint64_t number = fstat(file, &found) == 0 ? (uint64_t)found.st_ino : 0;
    errno = before;
    return number;
}

static int below(const char *path) {
    return root_length && path && strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || !path[root_length]);
}

static int is_watched(int file) { return root_length && file >= 0 && file < FILES && watched[file]; }

/* ------------------------------------------------ what tests call */

/* Watch the folder *path*; write to *log* ("" for nothing); die before the *kill*-th change (-1: never). */
void trace_begin(const char *path, const char *log, long kill) {
    pthread_mutex_lock(&lock);
    root_length = strlen(path);
    memcpy(root, path, root_length + 1);
    memset(watched, 0, sizeof watched);
    operations = 0;
    kill_before = kill;
    log_file = *log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    pthread_mutex_unlock(&lock);
}

/* From now on, die before the *kill*-th change. */
void trace_kill_in(long kill) {
    pthread_mutex_lock(&lock);
    kill_before = operations + kill;
    pthread_mutex_unlock(&lock);
}

/* From now on, every *every*-th sync fails with EIO, and what it was to save is lost, as Linux has it. */
void trace_fail_syncs(long every) { fail_every = every; }

/* Something that happened between two changes, as the test sees it. */
void trace_mark(const char *text) {
    pthread_mutex_lock(&lock);
    note('M', 0, 0, text, strlen(text), NULL, 0);
    pthread_mutex_unlock(&lock);
}

long trace_operations(void) { return operations; }

/* ------------------------------------------------ names */

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    if (!below(path)) {
        int file = (int)syscall(SYS_openat, folder, path, flags, mode);
        if (file >= 0 && file < FILES) watched[file] = 0;
        return file;
    }
    pthread_mutex_lock(&lock);
    int fresh = 0;
    if (flags & O_CREAT) {
        int before = errno;
        fresh = syscall(SYS_faccessat, AT_FDCWD, path, F_OK, 0) != 0;
        errno = before;
        if (fresh) count();
    }
    int file = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (file >= 0 && file < FILES) {
        watched[file] = 1;
        if (fresh) note('N', inode(file), 0, path, strlen(path), NULL, 0);
        else if (flags & O_TRUNC) note('T', inode(file), 0, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return file;
}

#define OPEN(name, first, folder)                                  \
    int name first {                                               \
        mode_t mode = 0;                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                       \
            va_list more;                                          \
            va_start(more, flags);                                 \
            mode = va_arg(more, mode_t);                           \
            va_end(more);                                          \
        }                                                          \
        return open_at(folder, path, flags, mode);                 \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int folder, const char *path, int flags, ...), folder)
OPEN(openat64, (int folder, const char *path, int flags, ...), folder)

int close(int file) {
    if (file >= 0 && file < FILES) watched[file] = 0;
    return (int)syscall(SYS_close, file);
}

static int rename_at(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    int seen = below(from) || below(to);
    if (seen) {
        pthread_mutex_lock(&lock);
        count();
    }
    int result = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (seen) {
        if (result == 0) note('R', 0, 0, from, strlen(from), to, strlen(to));
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int rename(const char *from, const char *to) { return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return rename_at(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return rename_at(a, from, b, to, flags); }

static int unlink_at(int folder, const char *path, int flags) {
    if (!below(path)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    pthread_mutex_lock(&lock);
    count();
    int result = (int)syscall(SYS_unlinkat, folder, path, flags);
    if (result == 0) note('U', 0, 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) { return unlink_at(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return unlink_at(folder, path, flags); }

/* ------------------------------------------------ contents */

ssize_t write(int file, const void *data, size_t length) {
    if (!is_watched(file)) return syscall(SYS_write, file, data, length);
    pthread_mutex_lock(&lock);
    count();
    ssize_t written = syscall(SYS_write, file, data, length);
    if (written > 0) {
        off_t end = syscall(SYS_lseek, file, 0, SEEK_CUR);
        note('W', inode(file), end - written, data, (size_t)written, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return written;
}

static ssize_t write_at(int file, const void *data, size_t length, off_t offset) {
    if (!is_watched(file)) return syscall(SYS_pwrite64, file, data, length, offset);
    pthread_mutex_lock(&lock);
    count();
    ssize_t written = syscall(SYS_pwrite64, file, data, length, offset);
    if (written > 0) note('W', inode(file), offset, data, (size_t)written, NULL, 0);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset) { return write_at(file, data, length, offset); }
ssize_t pwrite64(int file, const void *data, size_t length, off_t offset) { return write_at(file, data, length, offset); }

static int cut(int file, off_t length) {
    if (!is_watched(file)) return (int)syscall(SYS_ftruncate, file, length);
    pthread_mutex_lock(&lock);
    count();
    int result = (int)syscall(SYS_ftruncate, file, length);
    if (result == 0) note('T', inode(file), length, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int file, off_t length) { return cut(file, length); }
int ftruncate64(int file, off_t length) { return cut(file, length); }

static int cut_path(const char *path, off_t length) {
    int file = open_at(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (file < 0) return -1;
    int result = cut(file, length);
    close(file);
    return result;
}

int truncate(const char *path, off_t length) { return cut_path(path, length); }
int truncate64(const char *path, off_t length) { return cut_path(path, length); }

static int flush(int file, long call) {
    if (!is_watched(file)) return (int)syscall(call, file);
    pthread_mutex_lock(&lock);
    count();
    if (fail_every && ++syncs % fail_every == 0) {
        note('L', inode(file), 0, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
        errno = EIO;
        return -1;
    }
    int result = (int)syscall(call, file);
    if (result == 0) note('S', inode(file), 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int file) { return flush(file, SYS_fsync); }
int fdatasync(int file) { return flush(file, SYS_fdatasync); }
