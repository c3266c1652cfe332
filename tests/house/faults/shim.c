/* Faults at system calls: loaded by LD_PRELOAD, it counts the calls that change files below a folder, and at the n-th
   of a kind it fails, writes short, sends a signal, or kills the process before or after the call.

   It also records every call, which is what the power-loss model replays. A record is one
   line "operation|inode|offset|length|path|second path" and, for a write, the bytes. A call at which a fault was put
   is announced by a line that begins with "!", before anything happens.

   It reaches what goes through the C library's functions by name: Python, libstdc++, Rust's standard library, Arrow and
   Pillow do. It does not reach raw system calls, the C library's own calls inside fwrite, changes through mmap,
   sendfile, copy_file_range and io_uring. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, FSYNC = 4, RENAME = 8, UNLINK = 16, MKDIR = 32, TRUNCATE = 64, LINK = 128, CLOSE = 256,
       LOCK = 512 };
enum { NOTHING, FAIL, SHORT, SIGNAL, KILL_BEFORE, KILL_AFTER };
enum { GO_ON, FAILS, HALF, DIES };

static char folder[PATH_MAX];
static atomic_long count;
static long at;
static int action, argument, sticky, log_fd = -1, with_data;
static unsigned kinds;

/* Arms the shim: at call number `n` of `mask`'s kinds below `below` comes the action; where it `stays`, at all later
   ones too. The argument is an errno or a signal. */
void faults_arm(long n, unsigned mask, int what, int number, int stays, const char *below, int log, int data) {
    strncpy(folder, below, sizeof folder - 1);
    at = n; kinds = mask; action = what; argument = number; sticky = stays; with_data = data;
    atomic_store(&count, 0);
    log_fd = log;
}

static void put(const void *bytes, size_t size) {
    const char *from = bytes;
    while (size > 0) {
        long done = syscall(SYS_write, log_fd, from, size);
        if (done <= 0) return;
        from += done; size -= done;
    }
}

/* A mark of the program itself in the record, such as "the save of step 4 has returned". */
void faults_mark(const char *text) {
    char line[PATH_MAX];
    if (log_fd >= 0) put(line, snprintf(line, sizeof line, "mark|0|0|0|%s|\n", text));
}

static const char *named(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return path;
}

static const char *full(int directory, const char *given, char *path) {
    if (given[0] == '/') { strncpy(path, given, PATH_MAX - 1); path[PATH_MAX - 1] = 0; return path; }
    if (directory == AT_FDCWD) { if (syscall(SYS_getcwd, path, PATH_MAX) < 0) path[0] = 0; }
    else named(directory, path);
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%s", given);
    return path;
}

static int below(const char *path) {
    size_t length = strlen(folder);
    return log_fd >= 0 && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int enter(unsigned kind, const char *path) {
    char line[PATH_MAX + 64];
    if (!below(path) || !(kind & kinds)) return GO_ON;
    long number = atomic_fetch_add(&count, 1) + 1;
    if (at == 0 || !(sticky ? number >= at : number == at)) return GO_ON;
    put(line, snprintf(line, sizeof line, "!%u|0|%ld|0|%s|\n", kind, number, path));
    if (action == KILL_BEFORE) kill(getpid(), SIGKILL);
    if (action == SIGNAL) kill(getpid(), argument);
    if (action == FAIL) { errno = argument; return FAILS; }
    return action == SHORT ? HALF : action == KILL_AFTER ? DIES : GO_ON;
}

static void leave(int how, int worked, const char *operation, unsigned long inode, long offset, const void *data,
                  long length, const char *path, const char *second) {
    char line[2 * PATH_MAX + 128];
    int error = errno;
    if (below(path)) {
        long kept = with_data && worked ? length : 0;
        put(line, snprintf(line, sizeof line, "%s%s|%lu|%ld|%ld|%s|%s\n", worked ? "" : "~", operation, inode, offset,
                           kept, path, second));
        if (kept > 0) put(data, kept);
    }
    if (how == DIES) kill(getpid(), SIGKILL);
    errno = error;
}

static unsigned long inode_of(int fd) { struct stat s; return fstat(fd, &s) == 0 ? s.st_ino : 0; }
static unsigned long inode_at(const char *path) { struct stat s; return lstat(path, &s) == 0 ? s.st_ino : 0; }

static int opened(int directory, const char *given, int flags, mode_t mode) {
    char path[PATH_MAX];
    int changes = (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY;
    if (!changes || (flags & O_TMPFILE) == O_TMPFILE) return syscall(SYS_openat, directory, given, flags, mode);
    full(directory, given, path);
    int new = inode_at(path) == 0, how = enter(OPEN, path);
    if (how == FAILS) return -1;
    int fd = syscall(SYS_openat, directory, given, flags, mode);
    const char *operation = new ? "create" : flags & O_TRUNC ? "empty" : "open";
    leave(how, fd >= 0, operation, fd >= 0 ? inode_of(fd) : 0, 0, NULL, 0, path, "");
    return fd;
}

static int as_flags(const char *mode) {
    int plus = strchr(mode, '+') != NULL;
    if (mode[0] == 'r') return plus ? O_RDWR : O_RDONLY;
    return (plus ? O_RDWR : O_WRONLY) | O_CREAT | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); \
    mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at_fd, const char *path, int flags, ...) { MODE return opened(at_fd, path, flags, mode); }
int openat64(int at_fd, const char *path, int flags, ...) { MODE return opened(at_fd, path, flags | O_LARGEFILE, mode); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags | O_LARGEFILE, 0); }
int __openat_2(int at_fd, const char *path, int flags) { return opened(at_fd, path, flags, 0); }
int __openat64_2(int at_fd, const char *path, int flags) { return opened(at_fd, path, flags | O_LARGEFILE, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

static FILE *stream(const char *path, const char *mode) {
    int flags = as_flags(mode) | (strchr(mode, 'x') ? O_EXCL : 0) | (strchr(mode, 'e') ? O_CLOEXEC : 0);
    int fd = opened(AT_FDCWD, path, flags, 0666);
    return fd < 0 ? NULL : fdopen(fd, mode);
}
FILE *fopen(const char *path, const char *mode) { return stream(path, mode); }
FILE *fopen64(const char *path, const char *mode) { return stream(path, mode); }

static long written(int fd, const void *data, size_t size, long offset) {
    char path[PATH_MAX];
    if (log_fd < 0 || fd == log_fd) {
        return offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    }
    int how = enter(WRITE, named(fd, path));
    if (how == FAILS) return -1;
    if (how == HALF && size > 1) size /= 2;
    long done = offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    if (below(path)) {
        int error = errno;
        long from = offset < 0 ? lseek(fd, 0, SEEK_CUR) - done : offset;
        errno = error;
        leave(how, done >= 0, "write", inode_of(fd), from, data, done, path, "");
    }
    return done;
}
ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return written(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return written(fd, data, size, offset); }
ssize_t writev(int fd, const struct iovec *parts, int number) {
    char path[PATH_MAX];
    if (log_fd < 0 || !below(named(fd, path))) return syscall(SYS_writev, fd, parts, number);
    for (int i = 0; i < number; i++) /* a short write, which writev may always be */
        if (parts[i].iov_len > 0) return written(fd, parts[i].iov_base, parts[i].iov_len, -1);
    return 0;
}

#define BY_FD(name, kind, operation, offset, call) \
    { char path[PATH_MAX]; int how = enter(kind, named(fd, path)); if (how == FAILS) return -1; \
      unsigned long inode = inode_of(fd); int done = call; \
      leave(how, done == 0, operation, inode, offset, NULL, 0, path, ""); return done; }
int fsync(int fd) BY_FD(fsync, FSYNC, "fsync", 0, syscall(SYS_fsync, fd))
int fdatasync(int fd) BY_FD(fdatasync, FSYNC, "fsync", 0, syscall(SYS_fdatasync, fd))
int ftruncate(int fd, off_t size) BY_FD(ftruncate, TRUNCATE, "truncate", size, syscall(SYS_ftruncate, fd, size))
int ftruncate64(int fd, off64_t size) BY_FD(ftruncate64, TRUNCATE, "truncate", size, syscall(SYS_ftruncate, fd, size))
int flock(int fd, int operation) BY_FD(flock, LOCK, "lock", 0, syscall(SYS_flock, fd, operation))
int close(int fd) {
    char path[PATH_MAX];
    if (log_fd < 0 || (syscall(SYS_fcntl, fd, F_GETFL) & O_ACCMODE) == O_RDONLY) return syscall(SYS_close, fd);
    int how = enter(CLOSE, named(fd, path)), error = errno, done = syscall(SYS_close, fd);
    if (how == FAILS) { errno = error; return -1; } /* closed all the same, as Linux does */
    leave(how, done == 0, "close", 0, 0, NULL, 0, path, "");
    return done;
}

static int moved(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    full(from_fd, from, first); full(to_fd, to, second);
    int how = enter(RENAME, below(first) ? first : second);
    if (how == FAILS) return -1;
    unsigned long inode = inode_at(first);
    int done = syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    leave(how, done == 0, "rename", inode, 0, NULL, 0, first, second);
    return done;
}
int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return moved(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned f) { return moved(a, from, b, to, f); }

static int linked(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    char first[PATH_MAX], second[PATH_MAX];
    full(from_fd, from, first); full(to_fd, to, second);
    int how = enter(LINK, second);
    if (how == FAILS) return -1;
    int done = syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    leave(how, done == 0, "link", done == 0 ? inode_at(second) : 0, 0, NULL, 0, second, first);
    return done;
}
int link(const char *from, const char *to) { return linked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int f) { return linked(a, from, b, to, f); }

#define BY_PATH(directory, given, kind, operation, call) \
    { char path[PATH_MAX]; full(directory, given, path); int how = enter(kind, path); if (how == FAILS) return -1; \
      unsigned long inode = inode_at(path); int done = call; \
      if (done == 0 && kind == MKDIR) inode = inode_at(path); \
      leave(how, done == 0, operation, inode, 0, NULL, 0, path, ""); return done; }
int unlink(const char *p) BY_PATH(AT_FDCWD, p, UNLINK, "unlink", syscall(SYS_unlinkat, AT_FDCWD, p, 0))
int unlinkat(int d, const char *p, int f) BY_PATH(d, p, UNLINK, "unlink", syscall(SYS_unlinkat, d, p, f))
int rmdir(const char *p) BY_PATH(AT_FDCWD, p, UNLINK, "unlink", syscall(SYS_unlinkat, AT_FDCWD, p, AT_REMOVEDIR))
#define SHORTEN(p, size) { char path[PATH_MAX]; full(AT_FDCWD, p, path); int how = enter(TRUNCATE, path); \
    if (how == FAILS) return -1; int done = syscall(SYS_truncate, p, size); \
    leave(how, done == 0, "truncate", 0, size, NULL, 0, path, ""); return done; }
int truncate(const char *p, off_t size) SHORTEN(p, size)
int truncate64(const char *p, off64_t size) SHORTEN(p, size)
int mkdir(const char *p, mode_t m) BY_PATH(AT_FDCWD, p, MKDIR, "mkdir", syscall(SYS_mkdirat, AT_FDCWD, p, m))
int mkdirat(int d, const char *p, mode_t m) BY_PATH(d, p, MKDIR, "mkdir", syscall(SYS_mkdirat, d, p, m))
