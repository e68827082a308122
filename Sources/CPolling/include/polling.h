#ifndef CHAINSERVE_POLLING_H
#define CHAINSERVE_POLLING_H

#include <stdint.h>

/// Has the calling thread look for events for a while before it sleeps in `epoll_wait`, from now on.
///
/// A thread that sleeps is woken through the scheduler, on a processor that has slowed down or that a virtual machine has
/// given back, and finds caches that others have used: when events are fractions of a millisecond apart, that costs as
/// much as what they ask for. So it looks again and again instead, lets whoever waits for the processor have it each time,
/// and sleeps when nothing has come for `longest` nanoseconds, or when somebody else needs the processor. It looks only
/// while events have lately come closer than `longest`: in quieter times it sleeps at once.
///
/// `longest` 0 ends it. On Linux; elsewhere nothing happens.
void chainserve_poll_before_sleep(int64_t longest);

/// How often the calling thread found events by looking, and how often it slept, since it was told to look.
struct chainserve_polling_counts {
    int64_t found, slept;
};
struct chainserve_polling_counts chainserve_polling_counts(void);

#endif
