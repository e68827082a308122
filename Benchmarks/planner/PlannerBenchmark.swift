import ChainFormats
import ChainModel
import ChainPlanning
import Foundation

/// Prints one measurement as lines of a name and a value; `run.sh` puts them beside those of `reference.cpp`.
@main
enum PlannerBenchmark {
    static func main() throws {
        let words = CommandLine.arguments.dropFirst()
        let numbers = words.dropFirst().compactMap { Int($0) }
        let second = numbers.dropFirst().first
        switch (words.first, numbers.first) {
        case ("tune", let servers?): try tune(servers, threads: second ?? 1)
        case ("file", let servers?): print(file(of: servers))
        case ("parse", _): try parse(words.dropFirst().first ?? "")
        case ("exact", let count?): exact(many(count, slots: second ?? count))
        case ("bounds", let count?): bounds(many(count, slots: second ?? count))
        case ("sparse", .some): sparse(numbers)
        default:
            print("usage: benchmark-planner tune SERVERS [THREADS] | file SERVERS | parse FILE")
            print("       | exact CHAINS SLOTS | bounds CHAINS SLOTS | sparse CAPACITY ...")
            exit(2)
        }
        if words.first != "file" { print("megabytes \(Double(usage().ru_maxrss) / 1024)") }
    }

    /// Wall and processor time of `body`.
    private static func measured<Result>(_ body: () throws -> Result) rethrows -> Result {
        let start = ContinuousClock.now
        let before = usage()
        let result = try body()
        let time = ContinuousClock.now - start
        let after = usage()
        print("seconds \(Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18)")
        let cpu =
            Double(after.ru_utime.tv_sec - before.ru_utime.tv_sec)
            + Double(after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1e6
        print("cpu \(cpu)")
        return result
    }

    /// What this process has used so far; 0 is `RUSAGE_SELF`, whose type differs between systems.
    private static func usage() -> rusage {
        var usage = rusage()
        getrusage(0, &usage)
        return usage
    }

    // MARK: What is measured

    private static func tune(_ count: Int, threads: Int) throws {
        let cluster = pool(of: count)
        let loop: IndependentLoop = { DispatchQueue.concurrentPerform(iterations: $0, execute: $1) }
        let plan = try measured { try Planner.plan(cluster, loop: threads > 1 ? loop : nil) }
        print("c \(plan.capacityParameter ?? 0)")
        print("mean \(plan.meanResponseTime.exact ?? .nan)")
    }

    /// The pool as a cluster file, JSON.
    private static func file(of count: Int) -> String {
        let cluster = pool(of: count)
        let servers = cluster.servers.map { server in
            "{\"name\": \"\(server.name)\", \"memory\": \"\(server.memory.rawValue) B\", "
                + "\"communication_time\": \(server.communicationTimeSeconds), \"block_time\": \(server.blockTimeSeconds)}"
        }
        return """
            {"model": {"name": "bloom-176b", "block_count": 70, "block_size": "1.32 GB", "cache_size": "0.11 GB"},
            "demand": {"arrival_rate": \(cluster.demand.arrivalRate)},
            "servers": [
            \(servers.joined(separator: ",\n"))
            ]}
            """
    }

    private static func parse(_ path: String) throws {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let cluster = try measured {
            try ClusterFile.parse(text, file: path).resolve { _ in throw CocoaError(.fileNoSuchFile) }
        }
        print("servers \(cluster.servers.count)")
    }

    private static func many(_ count: Int, slots: Int) -> ParallelChains {
        ParallelChains(
            rates: (0..<count).map { 1 - 0.9 * Double($0) / Double(count) },
            capacities: [Int](repeating: slots / count, count: count))
    }

    private static func exact(_ chains: ParallelChains) {
        let analysis = measured { ExactAnalysis(chains, arrivalRate: 0.9 * chains.totalRate) }
        print("mean \(analysis?.meanResponseTime ?? .nan)")
    }

    private static func bounds(_ chains: ParallelChains) {
        let rate = 0.9 * chains.totalRate
        let (lower, upper) = measured {
            (
                ResponseBounds.lower(chains, arrivalRate: rate),
                ResponseBounds.upper(chains, arrivalRate: rate)
            )
        }
        print("lower \(lower ?? .nan)\nupper \(upper ?? .nan)")
    }

    private static func sparse(_ capacities: [Int]) {
        let chains = ParallelChains(
            rates: capacities.indices.map { pow(0.6, Double($0)) }, capacities: capacities)
        let rate = 0.8 * chains.totalRate
        let solution = measured { SparseChain(chains, arrivalRate: rate)?.solve() }
        let exact = ExactAnalysis(chains, arrivalRate: rate)?.meanJobs ?? .nan
        print("states \(solution?.stateCount ?? 0)")
        print("residual \(solution?.residual ?? .nan)")
        print("difference \(abs((solution?.meanJobs ?? .nan) / exact - 1))")
    }
}
