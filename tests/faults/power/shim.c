/* Loaded into the store with LD_PRELOAD: it writes down what is on the disk for certain, for power/disk.py to read.
 *
 * A file is on the disk up to the length that it had when a sync of it began that has ended well. A name is there once
 * its directory has been synced. Each line of $POWER_RECORD is one write, so it survives the SIGKILL of its writer:
 *
 *     sync INODE LENGTH PATH       a file was synced
 *     cut  INODE LENGTH PATH       a file was cut to that length, which nothing has synced
 *     move INODE KEPT OLD<TAB>NEW  a file is about to be renamed; what NEW was before is kept under the name KEPT
 *     gone INODE KEPT PATH         a name is about to be removed; its file is kept under the name KEPT
 *     dir  INODE PATH              a directory was synced
 *     held WHERE                   a thread waits here for as long as the file $POWER_HOLD is there
 *
 * Paths are relative to the store's working directory, or absolute.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE = 2 * PATH_MAX + 100 };

static int record = -1;

__attribute__((constructor)) static void begin(void) {
    record = open(getenv("POWER_RECORD"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (record < 0) _exit(99);
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...) {
    char line[LINE];
    int before = errno;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= (int)sizeof line || write(record, line, length) != length) _exit(99);
    errno = before;
}

/* Where the file $POWER_HOLD holds the beginning of `where`, nothing goes on: the power is about to fail just here. */
static void maybe_hold(const char *when, const char *what, const char *path) {
    char asked[200], where[LINE];
    int before = errno;
    int file = open(getenv("POWER_HOLD"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t length = read(file, asked, sizeof asked - 1);
        close(file);
        asked[length < 0 ? 0 : length] = 0;
        const char *name = strrchr(path, '/');
        snprintf(where, sizeof where, "%s %s %s", when, what, name ? name + 1 : path);
        if (*asked && strncmp(where, asked, strlen(asked)) == 0) {
            tell("held %s\n", where);
            while (access(getenv("POWER_HOLD"), F_OK) == 0) usleep(5000);
        }
    }
    errno = before;
}

static void path_of(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static int synced(int fd, int (*sync_file)(int)) {
    char path[PATH_MAX];
    struct stat info;
    if (fstat(fd, &info) < 0) return sync_file(fd);
    path_of(fd, path);
    const char *what = S_ISDIR(info.st_mode) ? "dir" : "sync";
    maybe_hold("before", what, path);
    int result = sync_file(fd);
    if (result == 0 && S_ISDIR(info.st_mode)) tell("dir %lu %s\n", (unsigned long)info.st_ino, path);
    if (result == 0 && S_ISREG(info.st_mode))
        tell("sync %lu %lld %s\n", (unsigned long)info.st_ino, (long long)info.st_size, path);
    maybe_hold("after", what, path);
    return result;
}

/* Keep the file of that name, whatever becomes of the name. Returns the inode of the file, 0 when there is none. */
static unsigned long keep(const char *path, char *kept) {
    static int count;
    struct stat info;
    strcpy(kept, "-");
    if (stat(path, &info) < 0 || !S_ISREG(info.st_mode)) return 0;
    char target[PATH_MAX];
    snprintf(kept, 40, "%d-%d", (int)getpid(), __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
    snprintf(target, sizeof target, "%s/%s", getenv("POWER_KEEP"), kept);
    if (link(path, target) < 0) _exit(99);
    return (unsigned long)info.st_ino;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return synced(fd, REAL(fsync)); }

int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int rename(const char *from, const char *to) {
    char kept[40];
    struct stat info;
    if (stat(from, &info) < 0) return REAL(rename)(from, to);
    maybe_hold("before", "move", to);
    keep(to, kept);
    tell("move %lu %s %s\t%s\n", (unsigned long)info.st_ino, kept, from, to);
    int result = REAL(rename)(from, to);
    maybe_hold("after", "move", to);
    return result;
}

int unlink(const char *path) {
    char kept[40];
    unsigned long inode = keep(path, kept);
    if (inode) tell("gone %lu %s %s\n", inode, kept, path);
    return REAL(unlink)(path);
}

static void was_cut(const struct stat *info, long long length, const char *path) {
    tell("cut %lu %lld %s\n", (unsigned long)info->st_ino, length, path);
}

int ftruncate64(int fd, off64_t length) {
    char path[PATH_MAX];
    struct stat info;
    int result = REAL(ftruncate64)(fd, length);
    path_of(fd, path);
    if (result == 0 && fstat(fd, &info) == 0) was_cut(&info, length, path);
    return result;
}

int truncate64(const char *path, off64_t length) {
    struct stat info;
    int result = REAL(truncate64)(path, length);
    if (result == 0 && stat(path, &info) == 0) was_cut(&info, length, path);
    return result;
}
