import ArgumentParser
import ChainDispatch
import ChainModel
import ChainPlanning
import ChainSimulation
import Foundation

/// What `simulate` was asked for, read and planned.
struct SimulationSetting {
    var plan: Plan
    var cluster: Cluster
    /// Under the first policy.
    var simulation: Simulation
    var contenders: [Contender]
    /// As written.
    var arrivalsText: String
    var sizesText: String

    /// Whether the analysis' assumptions hold: Poisson arrivals, exponential sizes, no faults, no limit.
    var isAnalysed: Bool {
        guard case .poisson = simulation.arrivals, case .exponential = simulation.sizes else { return false }
        return simulation.faults == .none && simulation.queueLimit == Simulation.unlimitedQueue
    }

    /// Simulates a contender; with the chains, or the paths, that its jobs took.
    func run(
        _ contender: Contender, replications: Int, savesRequests: Bool
    ) async -> (result: SimulationResult, system: SimulatedSystem) {
        var simulation = simulation
        simulation.savesRequests = savesRequests
        switch contender {
        case .chains(let policy):
            simulation.policy = policy
            return (await simulation.replicated(replications), simulation.system)
        case .routed(let policy, let system):
            let run = await RoutedSimulation(simulation, system, name: policy.rawValue)
                .replicated(replications)
            return (run.result, run.paths)
        }
    }

    /// What theory says of a policy on the plan's chains at the arrivals' rate.
    func prediction(of contender: Contender) -> SimulationPrediction? {
        guard case .chains(let policy) = contender, let rate = simulation.arrivals.meanRate else {
            return nil
        }
        let chains = ParallelChains(plan.chains)
        guard let lower = ResponseBounds.lower(chains, arrivalRate: rate) else { return nil }
        var prediction = SimulationPrediction(lower: lower)
        switch policy {
        case .jffc:
            prediction.upper = ResponseBounds.upper(chains, arrivalRate: rate)
            prediction.exact = ExactAnalysis(chains, arrivalRate: rate)
        case .jffcWait(let thresholds):
            prediction.exact = ExactAnalysis(chains, arrivalRate: rate, thresholds: thresholds)
        case .dedicated: break
        }
        return prediction
    }
}

/// Means under Poisson arrivals and exponential sizes, seconds.
struct SimulationPrediction {
    /// Theorem 4; for every policy that does not preempt.
    var lower: Double
    var upper: Double?
    var exact: ExactAnalysis?
}

/// What is compared: rules over the plan's chains, and systems that route per request over the same servers.
enum Contender {
    case chains(SimulatedPolicy)
    case routed(RoutedPolicy, RoutedSystem)
}

/// A policy's run.
struct SimulationOutcome {
    var result: SimulationResult
    /// The chains its jobs took; where they differ between replications, those of the first.
    var system: SimulatedSystem
    var prediction: SimulationPrediction?
    var cpuSeconds: Double
}

/// Names of the policies with a queue per chain.
enum DedicatedPolicyName {
    static let all = DedicatedPolicy.allCases.map(\.rawValue)
    static func policy(_ name: String) -> DedicatedPolicy? { DedicatedPolicy(rawValue: name) }
}

/// CPU time of the process, seconds.
enum ProcessorTime {
    static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

extension CommandFailure {
    /// As `invalidInput`, for work that waits.
    static func invalidInputAsync<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch let code as ExitCode {
            throw code
        } catch {
            warn("error: \(error)")
            throw invalidInput
        }
    }
}
