import ChainDispatch
import ChainModel
import ChainPlanning
import ChainSimulation
import Foundation

/// Runs the simulator on the models of its benchmark, and prints one line of `name value` pairs.
///
/// `chains JOBS [POLICY]`: 10 chains of 10 slots each at load 0.95. `trace`: 8,819 requests with the statistics of the
/// Azure trace on 20 servers.
@main
enum BenchmarkSimulator {
    static func main() throws {
        let arguments = CommandLine.arguments
        switch arguments.dropFirst().first {
        case "chains": runChains(jobs: Int(arguments[2]) ?? 1_000_000, policy: arguments.dropFirst(3).first)
        case "trace": try runTrace()
        default:
            print("usage: benchmark-simulator chains JOBS [POLICY] | trace")
            exit(2)
        }
    }

    /// `μ_k = 1/(1 + k/4)`, ten slots each.
    static let rates = (0..<10).map { 1 / (1 + Double($0) / 4) }
    static let capacities = Array(repeating: 10, count: 10)

    static func runChains(jobs: Int, policy: String?) {
        let system = SimulatedSystem(rates: rates, capacities: capacities)
        let dedicated = policy.flatMap { DedicatedPolicy(rawValue: $0) }
        let simulation = Simulation(
            system, policy: dedicated.map { .dedicated($0) } ?? .jffc,
            arrivals: .poisson(rate: 0.95 * system.totalRate),
            length: RunLength(jobs: jobs, warmUp: jobs / 10), seed: 1)
        let start = cpuSeconds()
        let result = simulation.run()
        report(result, seconds: cpuSeconds() - start)
    }

    /// The paper's pool: 20 servers, one in five of the larger kind, BLOOM-176B; times of the paper.
    static func runTrace() throws {
        let model = ModelShape(
            name: "bloom-176b", blockCount: 70, blockSize: ByteCount(1_320_000_000),
            cacheSize: ByteCount(110_000_000))
        let servers = (0..<20).map { number in
            let isLarge = number.isMultiple(of: 5)
            return Server(
                name: "s\(number)", memory: ByteCount(isLarge ? 40_000_000_000 : 20_000_000_000),
                communicationTimeSeconds: 0.25 + 0.02 * Double(number),
                blockTimeSeconds: isLarge ? 0.109 : 0.175)
        }
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 1), servers: servers)
        let plan = try Planner.plan(cluster)
        let statistics = TraceStatistics.azureCode
        let trace = statistics.trace(requests: 8819, rate: 0.6 * plan.totalServiceRate, seed: 1)
        var system = SimulatedSystem(plan, cluster: cluster)
        let split = TokenSplit(meanInput: statistics.meanInput, meanOutput: statistics.meanOutput)
        system.setTokenTimes(cluster, split: split)
        let simulation = Simulation(
            system, arrivals: .times(trace.times), sizes: .tokens(trace.tokens),
            length: RunLength(jobs: 8819, warmUp: 0), seed: 1)
        let start = cpuSeconds()
        let result = simulation.run()
        report(result, seconds: cpuSeconds() - start)
    }

    static func report(_ result: SimulationResult, seconds: Double) {
        print(
            "jobs \(result.completed) events \(result.events) cpu_seconds \(seconds) mean_response "
                + "\(result.response.mean) peak_memory_kb \(peakMemory()) little \(result.littleHolds)")
    }

    static func cpuSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// Greatest resident memory so far, kilobytes on Linux.
    static func peakMemory() -> Int {
        var usage = rusage()
        #if os(Linux)
            getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        #else
            getrusage(RUSAGE_SELF, &usage)
        #endif
        return Int(usage.ru_maxrss)
    }
}
