// The same decisions written plainly: free chains in an ordered set, waiting jobs in a deque, the chain of each running
// job in a hash table. No admission, retries, deadlines, servers or checks. Its decisions must be the dispatcher's.
//
// usage: reference free|waiting DECISIONS
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <set>
#include <unordered_map>
#include <vector>

static const int chain_count = 1000, capacity = 4;
static int occupancy[chain_count];
static std::set<int> open_chains;
static std::deque<uint64_t> queue;
static std::unordered_map<uint64_t, int> chain_of;
static std::vector<uint64_t> running;
static uint64_t last = 0, state = 1, checksum = 0;

static void start(uint64_t job) {
    const int chain = *open_chains.begin();
    if (++occupancy[chain] == capacity) open_chains.erase(open_chains.begin());
    chain_of[job] = chain;
    running.push_back(job);
    checksum = checksum * 31 + job * 1024 + uint64_t(chain);
}

static void arrive() {
    const uint64_t job = ++last;
    if (queue.empty() && !open_chains.empty()) start(job); else queue.push_back(job);
}

static void complete(uint64_t job) {
    const auto found = chain_of.find(job);
    const int chain = found->second;
    chain_of.erase(found);
    if (occupancy[chain]-- == capacity) open_chains.insert(chain);
    if (!queue.empty()) {
        const uint64_t head = queue.front();
        queue.pop_front();
        start(head);
    }
}

static void turn(long count) {
    checksum = 0;
    for (long n = 0; n < count; ++n) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        const size_t place = (state * 0x2545F4914F6CDD1Dull >> 32) % running.size();
        const uint64_t ended = running[place];
        running[place] = running.back();
        running.pop_back();
        complete(ended);
        arrive();
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const int jobs = strcmp(argv[1], "free") == 0 ? 3800 : chain_count * capacity + 100;
    for (int chain = 0; chain < chain_count; ++chain) open_chains.insert(chain);
    for (int n = 0; n < jobs; ++n) arrive();
    turn(100000);
    const clock_t begin = clock();
    turn(atol(argv[2]));
    const double seconds = double(clock() - begin) / CLOCKS_PER_SEC;
    printf("decisions %ld cpu_seconds %.6f checksum %llu\n", atol(argv[2]), seconds, (unsigned long long)checksum);
}
