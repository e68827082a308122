// Sends one HTTP request again and again at Poisson times, whatever has become of those before, and measures each from
// the time at which it was due to the last byte of its answer; a request that is due while all connections are taken
// waits for one. One thread, as little work as possible, for it shares the machine with what it measures; with real-time
// priority where that is allowed, since clients would have machines of their own. Answers must have the status that is
// expected, and a Content-Length.
//
// usage: load PORT CONNECTIONS RATE COUNT SEED BODY [STATUS]
// 127.0.0.1, /v1/chat/completions; COUNT requests are counted, a tenth more before them is not; STATUS is 200 unless given.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { connection_limit = 1024, answer_limit = 65536, give_up_seconds = 30 };

static long status = 200;

struct connection {
    int descriptor;
    long request;
    size_t received;
    char answer[answer_limit + 1];
};

static struct connection *connections[connection_limit];
static int idle[connection_limit], idle_count, poll_descriptor, port;
static double *due, *latency, *lateness;
static uint64_t state;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// xorshift64* (Vigna 2016), in (0, 1).
static double uniform(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return ((double)(state * 0x2545F4914F6CDD1Dull >> 12) + 0.5) * 0x1p-52;
}

static void fail(const char *what) {
    fprintf(stderr, "load: %s (%s)\n", what, strerror(errno));
    exit(1);
}

static void open_connection(int number) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1;
    struct connection *opened = connections[number];
    opened->descriptor = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(opened->descriptor, (struct sockaddr *)&address, sizeof address) != 0) fail("cannot connect");
    setsockopt(opened->descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)number};
    epoll_ctl(poll_descriptor, EPOLL_CTL_ADD, opened->descriptor, &event);
    opened->request = -1;
}

// Whether the answer is whole.
static int is_whole(const struct connection *connection) {
    const char *end = strstr(connection->answer, "\r\n\r\n");
    if (!end) return 0;
    const char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    if (!length || length > end) fail("an answer has no Content-Length");
    if (strncmp(connection->answer, "HTTP/1.1 ", 9) != 0 || strtol(connection->answer + 9, NULL, 10) != status) {
        fprintf(stderr, "load: an answer is not %ld:\n%s\n", status, connection->answer);
        exit(1);
    }
    return connection->received >= (size_t)(end + 4 - connection->answer) + strtoul(length + 17, NULL, 10);
}

static int compare(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

// By the nearest rank, milliseconds.
static double quantile(const double *sorted, long count, double fraction) {
    long rank = (long)ceil(fraction * (double)count) - 1;
    return 1e3 * sorted[rank < 0 ? 0 : rank];
}

static void wait_for_events(double until, struct epoll_event *events, int *count) {
    double left = until - now();
    if (left < 0) left = 0;
    struct timespec timeout = {.tv_sec = (time_t)left, .tv_nsec = (long)(1e9 * (left - floor(left)))};
    *count = epoll_pwait2(poll_descriptor, events, 256, &timeout, NULL);
    if (*count < 0 && errno != EINTR) fail("epoll");
}

int main(int argc, char **argv) {
    if (argc != 7 && argc != 8) return 2;
    port = atoi(argv[1]);
    const int connection_count = atoi(argv[2]);
    if (connection_count < 1 || connection_count > connection_limit) return 2;
    const double rate = atof(argv[3]);
    const long counted = atol(argv[4]), warm_up = counted / 10, total = counted + warm_up;
    state = strtoull(argv[5], NULL, 10) * 0x9E3779B97F4A7C15ull | 1;
    const char *body = argv[6];
    static char request[8192];
    const int size = snprintf(request, sizeof request,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer none\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);
    if (argc > 7) status = atol(argv[7]);
    prctl(PR_SET_TIMERSLACK, 1);
    struct sched_param priority = {.sched_priority = 1};
    const int real_time = sched_setscheduler(0, SCHED_FIFO, &priority) == 0;
    poll_descriptor = epoll_create1(0);
    due = calloc((size_t)total, sizeof *due);
    latency = calloc((size_t)total, sizeof *latency);
    lateness = calloc((size_t)total, sizeof *lateness);
    while (idle_count < connection_count) {
        connections[idle_count] = calloc(1, sizeof(struct connection));
        open_connection(idle_count);
        idle[idle_count] = idle_count;
        ++idle_count;
    }
    double time = now() + 0.05;
    for (long n = 0; n < total; ++n) due[n] = time += -log(uniform()) / rate;
    const double end = time + give_up_seconds;
    struct epoll_event events[256];
    long sent = 0, ended = 0;
    // When the last connection to become idle while none was did so: before, nothing could be sent.
    double came_back = 0;
    while (ended < total) {
        for (; sent < total && idle_count && due[sent] <= now(); ++sent) {
            const int number = idle[--idle_count];
            struct connection *connection = connections[number];
            connection->request = sent;
            connection->received = 0;
            lateness[sent] = now() - fmax(due[sent], came_back);
            if (send(connection->descriptor, request, (size_t)size, MSG_NOSIGNAL) != size) fail("cannot send");
        }
        int count;
        wait_for_events(sent < total && idle_count ? due[sent] : end, events, &count);
        for (int n = 0; n < count; ++n) {
            const int number = (int)events[n].data.u32;
            struct connection *connection = connections[number];
            const ssize_t got = recv(connection->descriptor, connection->answer + connection->received,
                answer_limit - connection->received, MSG_DONTWAIT);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                // A server may close a connection that nobody used for a while.
                if (connection->request >= 0) fail("a connection was closed");
                close(connection->descriptor);
                open_connection(number);
                continue;
            }
            connection->received += (size_t)got;
            connection->answer[connection->received] = 0;
            if (!is_whole(connection)) continue;
            latency[connection->request] = now() - due[connection->request];
            connection->request = -1;
            if (!idle_count) came_back = now();
            idle[idle_count++] = number;
            ++ended;
        }
        if (now() > end) fail("answers do not come");
    }
    double mean = 0;
    for (long n = warm_up; n < total; ++n) mean += latency[n] / (double)counted;
    qsort(latency + warm_up, (size_t)counted, sizeof *latency, compare);
    qsort(lateness + warm_up, (size_t)counted, sizeof *lateness, compare);
    const double *sorted = latency + warm_up;
    printf("{\"requests\": %ld, \"mean\": %.4f, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f,"
        " \"late_p99\": %.4f, \"real_time\": %s}\n", counted, 1e3 * mean,
        quantile(sorted, counted, 0.5), quantile(sorted, counted, 0.9), quantile(sorted, counted, 0.99),
        quantile(sorted, counted, 1), quantile(lateness + warm_up, counted, 0.99),
        real_time ? "true" : "false");
    return 0;
}
