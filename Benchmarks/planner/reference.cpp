// A plain single-core C++ reference for the planner's benchmark: GBP-CR for every c, GCA on block boundaries, the
// lower bound of Theorem 4, and the exact mean of those that the bound does not rule out. It shares no code with the
// planner and keeps nothing from one c to the next.
//
// usage: reference tune SERVERS | reference exact CHAINS SLOTS NODES | reference bounds CHAINS SLOTS
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/resource.h>

namespace {

const double infinity = HUGE_VAL;
const int block_count = 70;
const long block_size = 1320000000, cache_size = 110000000;
const double load_target = 0.7;

struct Server { long memory; double communication, block; };

// The pool of the benchmark: SplitMix64, the same draws as in Pool.swift.
struct Generator {
    uint64_t state;
    uint64_t next() {
        state += 0x9E3779B97F4A7C15u;
        uint64_t mixed = state;
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
        return mixed ^ (mixed >> 31);
    }
    double uniform() { return double(next() >> 11) * 0x1p-53; }
};

std::vector<Server> pool(int count) {
    Generator generator{uint64_t(count)};
    std::vector<Server> servers;
    for (int number = 0; number < count; number++) {
        bool large = generator.uniform() < 0.2;
        double last_mile = 2 + 28 * generator.uniform() * generator.uniform();
        double kilometres = 3500 * std::sqrt(generator.uniform());
        double round_trip = 0.3 * (last_mile + 6) + 0.01 * kilometres;
        servers.push_back({large ? 40000000000 : 20000000000, 0.05 + 20 * round_trip / 1000, large ? 0.109 : 0.175});
    }
    return servers;
}

struct Range { int first = 0, count = 0; };
struct Chain { double time; long capacity; };

std::vector<Range> place(const std::vector<Server>& servers, int c, double rate, bool& fits) {
    std::vector<int> counts(servers.size());
    std::vector<std::pair<double, int>> order;
    long sum = 0;
    for (size_t j = 0; j < servers.size(); j++) {
        counts[j] = int(std::min<long>(servers[j].memory / (block_size + c * cache_size), block_count));
        sum += counts[j];
        if (counts[j] > 0)
            order.push_back({(servers[j].communication + servers[j].block * counts[j]) / counts[j], int(j)});
    }
    std::vector<Range> ranges(servers.size());
    fits = sum >= block_count;
    if (!fits) return ranges;
    std::sort(order.begin(), order.end());
    int next = 1;
    double time = 0, reached = 0;
    for (auto& [key, j] : order) {
        int first = std::min(next, block_count - counts[j] + 1);
        ranges[j] = {first, counts[j]};
        time += servers[j].communication + servers[j].block * counts[j];
        next = first + counts[j];
        if (next <= block_count) continue;
        reached += 1 / time;
        if (reached >= rate / (load_target * c)) break;
        next = 1;
        time = 0;
    }
    return ranges;
}

// GCA: for boundaries p < e the servers that end at e and host block p, in order of cost.
std::vector<Chain> allocate(const std::vector<Server>& servers, const std::vector<Range>& ranges) {
    const int size = block_count + 2;
    std::vector<std::vector<int>> by_end(size);
    std::vector<long> left(servers.size());
    for (size_t j = 0; j < servers.size(); j++) {
        if (!ranges[j].count) continue;
        by_end[ranges[j].first + ranges[j].count].push_back(int(j));
        left[j] = (servers[j].memory - block_size * ranges[j].count) / cache_size;
    }
    std::vector<std::vector<std::pair<double, int>>> lists(size * size);
    std::vector<size_t> heads(size * size, 0);
    std::vector<double> cost(size * size, infinity);
    for (int e = 2; e < size; e++)
        for (int p = 1; p < e; p++) {
            auto& list = lists[e * size + p];
            for (int j : by_end[e])
                if (ranges[j].first <= p && left[j] >= e - p)
                    list.push_back({servers[j].communication + servers[j].block * (e - p), j});
            std::sort(list.begin(), list.end());
            if (!list.empty()) cost[e * size + p] = list[0].first;
        }
    std::vector<Chain> chains;
    std::vector<double> distance(size);
    std::vector<int> previous(size);
    while (true) {
        distance[1] = 0;
        for (int e = 2; e < size; e++) {
            distance[e] = infinity;
            for (int p = 1; p < e; p++)
                if (double time = distance[p] + cost[e * size + p]; time < distance[e]) {
                    distance[e] = time;
                    previous[e] = p;
                }
        }
        if (distance[size - 1] == infinity) return chains;
        long capacity = INT64_MAX;
        for (int e = size - 1; e > 1; e = previous[e]) {
            int pair = e * size + previous[e];
            capacity = std::min(capacity, left[lists[pair][heads[pair]].second] / (e - previous[e]));
        }
        chains.push_back({distance[size - 1], capacity});
        std::vector<int> used;
        for (int e = size - 1; e > 1; e = previous[e]) {
            int pair = e * size + previous[e];
            int j = lists[pair][heads[pair]].second;
            left[j] -= capacity * (e - previous[e]);
            used.push_back(j);
        }
        for (int j : used) {
            int e = ranges[j].first + ranges[j].count;
            for (int p = ranges[j].first; p < e; p++) {
                int pair = e * size + p;
                auto& list = lists[pair];
                size_t head = heads[pair];
                while (head < list.size() && left[list[head].second] < e - p) head++;
                heads[pair] = head;
                cost[pair] = head < list.size() ? list[head].first : infinity;
            }
        }
    }
}

double bound(const std::vector<Chain>& chains, double rate, bool upper) {
    double total = 0, weight = 1, jobs = 0, weights = 0, sum = 0, below = 0;
    for (auto& chain : chains) total += double(chain.capacity) / chain.time;
    if (rate >= total) return infinity;
    size_t count = chains.size();
    for (size_t position = 0; position < count; position++) {
        auto& chain = chains[upper ? count - 1 - position : position];
        for (long busy = 1; busy <= chain.capacity; busy++) {
            weights += weight;
            sum += jobs * weight;
            jobs += 1;
            weight *= rate / (below + double(busy) / chain.time);
            if (weight > 0x1p600) { weight /= 0x1p600; weights /= 0x1p600; sum /= 0x1p600; }
        }
        below += double(chain.capacity) / chain.time;
    }
    double load = rate / total, tail = weight / (1 - load);
    return (sum + tail * (jobs + load / (1 - load))) / (weights + tail) / rate;
}

// The ordered-overflow recursion with `nodes` Chebyshev nodes.
double exact(const std::vector<Chain>& chains, double rate, int nodes) {
    const double pi = 3.14159265358979323846;
    std::vector<double> coefficients{-std::log(rate)}, values(nodes);
    double center = 0, scale = 0, log_overflow = 0, jobs = 0, total = 0, capacity = 0, after = 0;
    for (auto& chain : chains) { total += chain.capacity / chain.time; capacity += chain.capacity; }
    after = total;
    auto psi = [&](double s) {
        double log_s = std::log(s), x = (log_s - center) * scale, next = 0, last = 0;
        for (size_t k = coefficients.size() - 1; k > 0; k--) {
            double now = 2 * x * next - last + coefficients[k];
            last = next;
            next = now;
        }
        return std::exp(x * next - last + coefficients[0] + log_s);
    };
    double slowest = 1 / chains.back().time;
    for (auto& chain : chains) {
        double mu = 1 / chain.time, term = 1, sum = 1, exponent = 0;
        long c = chain.capacity;
        for (long r = 1; r <= c; r++) {
            term *= psi(r * mu) * double(c - r + 1) / double(r);
            sum += term;
            if (sum > 0x1p600) { term /= 0x1p600; sum /= 0x1p600; exponent += 600 * std::log(2.0); }
        }
        double loss = exponent + std::log(sum);
        jobs += -rate * std::exp(log_overflow) * std::expm1(-loss) / mu;
        log_overflow -= loss;
        if (log_overflow < -700) break;
        after -= c * mu;
        double low = std::log(slowest), high = std::max(low, std::log(std::max(after, slowest)));
        for (int k = 0; k < nodes; k++) {
            double s = std::exp((low + high) / 2 + (high - low) / 2 * std::cos(pi * (k + 0.5) / nodes));
            double weight = 1, above = 0, below = 0;
            for (long r = 0; r <= c; r++) {
                below += weight;
                double next = weight * psi(s + r * mu);
                above += next;
                weight = next * double(c - r) / double(r + 1);
                if (above > 0x1p600) { weight /= 0x1p600; above /= 0x1p600; below /= 0x1p600; }
            }
            values[k] = std::log(above / below) - std::log(s);
        }
        std::vector<double> fresh(nodes, 0);
        for (int j = 0; j < nodes; j++) {
            for (int k = 0; k < nodes; k++) fresh[j] += values[k] * std::cos(pi * j * (k + 0.5) / nodes);
            fresh[j] *= (j == 0 ? 1.0 : 2.0) / nodes;
        }
        coefficients = fresh;
        center = (low + high) / 2;
        scale = high > low ? 2 / (high - low) : 0;
    }
    double load = rate / total, full = std::exp(log_overflow), rest = 1 - load;
    double sum = jobs + full * (capacity * load / rest + load / (rest * rest));
    return sum / (1 + full * load / rest) / rate;
}

void tune(int count) {
    auto servers = pool(count);
    double rate = count / 20.0;
    struct Candidate { double lower; int c; std::vector<Chain> chains; };
    std::vector<Candidate> meeting, stable;
    for (int c = 1; c <= (40000000000 - block_size) / cache_size; c++) {
        bool fits;
        auto ranges = place(servers, c, rate, fits);
        if (!fits) break;
        auto chains = allocate(servers, ranges);
        double total = 0;
        for (auto& chain : chains) total += double(chain.capacity) / chain.time;
        if (rate >= total) continue;
        auto& group = rate / total <= load_target * (1 + 1e-12) ? meeting : stable;
        group.push_back({bound(chains, rate, false), c, chains});
    }
    auto& group = meeting.empty() ? stable : meeting;
    std::stable_sort(group.begin(), group.end(), [](auto& l, auto& r) { return l.lower < r.lower; });
    double best = infinity;
    int chosen = 0;
    for (auto& candidate : group) {
        if (candidate.lower > best * (1 + 1e-9)) break;
        double mean = exact(candidate.chains, rate, 32);
        bool tied = chosen > 0 && std::abs(mean - best) <= 1e-9 * best;
        if (tied ? candidate.c < chosen : mean < best) { best = mean; chosen = candidate.c; }
    }
    std::printf("c %d\nmean %.17g\n", chosen, best);
}

std::vector<Chain> many(int count, long slots) {
    std::vector<Chain> chains;
    for (int k = 0; k < count; k++) chains.push_back({1 / (1 - 0.9 * k / count), slots / count});
    return chains;
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) return 2;
    std::string what = words[1];
    auto start = std::chrono::steady_clock::now();
    if (what == "tune") {
        tune(std::atoi(words[2]));
    } else if (count >= 4) {
        auto chains = many(std::atoi(words[2]), std::atol(words[3]));
        double total = 0;
        for (auto& chain : chains) total += chain.capacity / chain.time;
        double rate = 0.9 * total;
        start = std::chrono::steady_clock::now();
        if (what == "exact") {
            std::printf("mean %.17g\n", exact(chains, rate, count > 4 ? std::atoi(words[4]) : 32));
        } else {
            std::printf("lower %.17g\nupper %.17g\n", bound(chains, rate, false), bound(chains, rate, true));
        }
    }
    std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = double(usage.ru_utime.tv_sec) + double(usage.ru_utime.tv_usec) / 1e6;
    std::printf("seconds %.6f\ncpu %.6f\nmegabytes %.1f\n", time.count(), cpu, double(usage.ru_maxrss) / 1024);
}
