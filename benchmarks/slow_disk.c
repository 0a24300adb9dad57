/* A disk whose flush takes longer: preloaded, it sleeps in fsync and fdatasync after the true call.
 *
 * FLUSH_MICROSECONDS says how long. Sleeping, not spinning: a disk uses no processor while it flushes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static void nap(void) {
    const char *text = getenv("FLUSH_MICROSECONDS");
    long microseconds = text ? atol(text) : 0;
    struct timespec left = {microseconds / 1000000, microseconds % 1000000 * 1000};
    while (nanosleep(&left, &left) && errno == EINTR) {
    }
}

static int flush(const char *name, int file) {
    int (*truly)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int answer = truly(file);
    int error = errno;
    nap();
    errno = error;
    return answer;
}

int fsync(int file) { return flush("fsync", file); }
int fdatasync(int file) { return flush("fdatasync", file); }
