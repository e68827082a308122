#define _GNU_SOURCE
#include "polling.h"

#ifdef __linux__

#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

// Nanoseconds after which somebody who got the processor needs it more.
static const int64_t other_work = 100000;
// A wait counts for no more than so many times the longest look: one alone does not end the looking.
static const int64_t quiet = 4;

// Of this thread, nanoseconds.
static _Thread_local struct {
    int64_t longest;
    // For how long it waited for events lately: a moving average.
    int64_t usual;
    struct chainserve_polling_counts counts;
} polling;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void chainserve_poll_before_sleep(int64_t longest) {
    polling.longest = longest;
    // Nothing is known yet: as if it were quiet.
    polling.usual = quiet * longest;
    polling.counts = (struct chainserve_polling_counts){0, 0};
}

struct chainserve_polling_counts chainserve_polling_counts(void) { return polling.counts; }

// Looks until something has come (its count, or -1) or the time is up (0).
static int look(int descriptor, struct epoll_event *events, int capacity, int64_t end) {
    for (int64_t time = now(); time < end;) {
        const int count = epoll_pwait(descriptor, events, capacity, 0, NULL);
        if (count != 0) return count;
        const int64_t before = now();
        sched_yield();
        time = now();
        if (time - before > other_work) return 0;
    }
    return 0;
}

// Stands in for the C library's function in this program: that is where event loops sleep, without a limit, for their timers
// are events, too. In all other cases, and for threads that have not asked for more, it does the same.
int epoll_wait(int descriptor, struct epoll_event *events, int capacity, int timeout) {
    const int64_t longest = polling.longest;
    if (longest <= 0 || timeout >= 0) return epoll_pwait(descriptor, events, capacity, timeout, NULL);
    const int64_t start = now();
    int count = polling.usual < longest ? look(descriptor, events, capacity, start + longest) : 0;
    if (count != 0) {
        ++polling.counts.found;
    } else {
        count = epoll_pwait(descriptor, events, capacity, timeout, NULL);
        ++polling.counts.slept;
    }
    const int64_t waited = now() - start, most = quiet * longest;
    polling.usual += ((waited < most ? waited : most) - polling.usual) / 8;
    return count;
}

#else

void chainserve_poll_before_sleep(int64_t longest) { (void)longest; }

struct chainserve_polling_counts chainserve_polling_counts(void) {
    return (struct chainserve_polling_counts){0, 0};
}

#endif
