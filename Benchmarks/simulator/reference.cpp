// The same model written plainly: 10 chains of 10 slots, JFFC, Poisson arrivals, exponential sizes; a binary heap of
// completions, one queue, means of response and wait. What the simulator's speed is compared with.
//
// usage: reference JOBS
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <queue>
#include <vector>

struct Xoshiro {
    uint64_t s[4];
    explicit Xoshiro(uint64_t seed) {
        for (auto &word : s) {
            seed += 0x9E3779B97F4A7C15ull;
            uint64_t mixed = seed;
            mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ull;
            mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBull;
            word = mixed ^ (mixed >> 31);
        }
    }
    static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
    uint64_t next() {
        uint64_t result = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
        s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = rotl(s[3], 45);
        return result;
    }
    double exponential() { return -std::log((double(next() >> 12) + 0.5) * 0x1p-52); }
};

struct Completion {
    double time;
    double arrival;
    double start;
    int chain;
    bool operator<(const Completion &other) const { return time > other.time; }
};

struct Waiting {
    double arrival;
    double size;
};

int main(int argc, char **argv) {
    const long jobs = argc > 1 ? atol(argv[1]) : 1000000;
    const long warmUp = jobs / 10;
    std::array<double, 10> service;
    std::array<int, 10> free_slots;
    double total = 0;
    for (int k = 0; k < 10; ++k) {
        service[k] = 1 + k / 4.0;
        free_slots[k] = 10;
        total += 10 / service[k];
    }
    const double rate = 0.95 * total;
    Xoshiro arrivals(1), sizes(2);
    std::priority_queue<Completion> calendar;
    std::deque<Waiting> queue;
    const clock_t begin = clock();
    double next = arrivals.exponential() / rate, response = 0, wait = 0;
    long ended = 0, arrived = 0;
    while (ended < jobs + warmUp) {
        if (!calendar.empty() && calendar.top().time <= next) {
            const Completion job = calendar.top();
            calendar.pop();
            if (++ended > warmUp) {
                response += job.time - job.arrival;
                wait += job.start - job.arrival;
            }
            if (queue.empty()) {
                ++free_slots[job.chain];
            } else {
                const Waiting head = queue.front();
                queue.pop_front();
                calendar.push({job.time + head.size * service[job.chain], head.arrival, job.time, job.chain});
            }
        } else {
            const double size = sizes.exponential();
            int chain = 0;
            while (chain < 10 && free_slots[chain] == 0) ++chain;
            if (chain == 10) {
                queue.push_back({next, size});
            } else {
                --free_slots[chain];
                calendar.push({next + size * service[chain], next, next, chain});
            }
            ++arrived;
            next += arrivals.exponential() / rate;
        }
    }
    const double seconds = double(clock() - begin) / CLOCKS_PER_SEC;
    printf("jobs %ld cpu_seconds %.6f mean_response %.9f mean_wait %.9f\n", jobs, seconds, response / jobs, wait / jobs);
}
