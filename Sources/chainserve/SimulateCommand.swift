import ArgumentParser
import ChainFormats
import ChainModel
import ChainPlanning
import ChainSimulation
import Foundation

/// `chainserve simulate`: what a pool would do.
struct SimulateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate", abstract: "Simulate a pool with the dispatcher that serves.",
        discussion: """
            Arrivals: poisson, gamma:SHAPE (as in vllm bench serve: 1 is Poisson, less is burstier), azure (gaps like
            the Azure trace's), mmpp:RATE@SECONDS,RATE@SECONDS, onoff:ON,OFF, diurnal:FILE, closed:USERS[@THINK],
            trace:FILE (Azure CSV, Mooncake JSON lines, or the journal of a service). Sizes: exponential,
            deterministic, lognormal:CV, gamma:CV, hyperexponential:CV, tokens[:FILE], answers[:FILE] (as emulated
            pools serve), azure. Policies: jffc, jffc-wait, jsq, jiq, sed, sa-jsq, random, power-of-two, round-robin; all is all of these. Systems that
            route per request: petals, petals-sum, petals-backoff, petals-client, petals-shared-client, petals-asap,
            bprr, bprr-asap, bprr-as-coded. Several, separated by commas, meet identical arrivals and sizes.
            """)

    @Argument(help: "The cluster file, or a plan (JSON) with --cluster.")
    var file: String?

    @Option(name: .long, help: "The cluster file that the plan was made for.")
    var cluster: String?

    @Option(name: [.customLong("policy"), .customLong("dispatch")], help: "Which chain a job runs on.")
    var policy = "jffc"

    @Option(name: .long, help: "How jobs arrive.")
    var arrivals = "poisson"

    @Option(
        name: .long, parsing: .unconditional,
        help: "Jobs per second, such as 0.2 or 12/min, instead of the file's or the trace's.")
    var arrivalRate: String?

    @Option(name: .long, help: "How large jobs are.")
    var sizes = "exponential"

    @Option(
        name: .long, parsing: .unconditional, help: "Jobs to count (default 100,000; a trace: all of it).")
    var jobs: Int?

    @Option(name: .long, help: "Go on until the mean response is this certain (95 %), such as 1%.")
    var precision: String?

    @Option(
        name: [.customLong("warm-up"), .customLong("warmup")], parsing: .unconditional,
        help: "Jobs before the first counted one (default a tenth; a trace: none).")
    var warmUp: Int?

    @Option(name: .long, parsing: .unconditional, help: "Seed of all random numbers.")
    var seed: UInt64 = 1

    @Option(name: .long, parsing: .unconditional, help: "Independent runs, on all cores.")
    var replications = 1

    @Option(
        name: .long, help: "Servers fail: UP,DOWN (mean seconds), or down:SERVER@SECONDS,up:SERVER@SECONDS.")
    var faults: String?

    @Option(name: .long, parsing: .unconditional, help: "Jobs that may wait (default: no limit).")
    var queueLimit: Int?

    @Option(
        name: .long, parsing: .unconditional,
        help: "Time of an answer's token over that of a prompt's, for sizes in tokens.")
    var decodeWeight = 31.0

    @Flag(name: .long, help: "Print the result as JSON; the text for people goes to standard error.")
    var json = false

    @Option(name: .long, help: "Write every counted request into this JSON file.")
    var saveDetailed: String?

    @Flag(name: .long, help: "Print the table of checks against queueing theory, and nothing else.")
    var validate = false

    @OptionGroup(title: "Planning") var planning: PlanningFlags

    func run() async throws {
        if validate {
            try CommandFailure.invalidInput { try checkNumbers() }
            CommandFailure.say(
                await ValidationTable.text(jobs: jobs ?? 1_000_000, seed: seed), toError: false)
            return
        }
        let setting = try await CommandFailure.invalidInputAsync { try await prepare() }
        var results: [SimulationOutcome] = []
        for contender in setting.contenders {
            let start = ProcessorTime.seconds()
            let (result, system) = await setting.run(
                contender, replications: replications, savesRequests: saveDetailed != nil)
            results.append(
                SimulationOutcome(
                    result: result, system: system, prediction: setting.prediction(of: contender),
                    cpuSeconds: ProcessorTime.seconds() - start))
        }
        let report = SimulationReport(setting: setting, outcomes: results)
        if json { CommandFailure.say(report.json.rendered(), toError: false) }
        CommandFailure.say(report.text, toError: json)
        if let saveDetailed { try save(results, to: saveDetailed) }
        guard results.allSatisfy(\.result.littleHolds) else {
            CommandFailure.warn("error: the simulator miscounted (Little's law): please report this")
            throw ExitCode.failure
        }
    }

    private func save(_ outcomes: [SimulationOutcome], to file: String) throws {
        do {
            let text = SimulationReport.detailed(outcomes).rendered()
            try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        } catch {
            CommandFailure.warn("error: \(file) cannot be written: \(error.localizedDescription)")
            throw ExitCode.failure
        }
    }

    // MARK: Input

    private func prepare() async throws -> SimulationSetting {
        try checkNumbers()
        guard let file else { throw InvalidWorkload("give a cluster file, or a plan with --cluster") }
        let text = try CommandFailure.read(file)
        let clusterName = cluster ?? file
        let clusterFile = try ClusterFile.parse(
            cluster == nil ? text : try CommandFailure.read(clusterName), file: clusterName)
        var pool = try clusterFile.resolved()
        var rate: Double?
        if let arrivalRate { rate = try DemandText.arrivalRate(arrivalRate) }
        if let rate { pool.demand.arrivalRate = rate }
        if let target = planning.loadTarget { pool.demand.loadTarget = try DemandText.loadTarget(target) }

        var workload = WorkloadText(rate: rate, planRate: pool.demand.arrivalRate)
        workload.meanOutputTokens = clusterFile.demand.meanOutputTokens
        let arrivals = try InvalidWorkload.naming("--arrivals \(self.arrivals)") {
            try workload.arrivals(self.arrivals)
        }
        let sizes = try InvalidWorkload.naming("--sizes \(self.sizes)") {
            try workload.sizes(self.sizes)
        }
        let means = sizes.meanTokens
        var split = TokenSplit(
            meanInput: clusterFile.demand.meanInputTokens ?? means?.input ?? 0,
            meanOutput: clusterFile.demand.meanOutputTokens ?? means?.output ?? 1)
        split.decodeWeight = decodeWeight
        let faults = try self.faults.map { text in
            try InvalidWorkload.naming("--faults \(text)") {
                try WorkloadText.faults(text, servers: pool.servers.map(\.name))
            }
        }
        let length = try runLength(arrivals)
        let seed = seed
        let queueLimit = queueLimit ?? Simulation.unlimitedQueue
        let cluster = pool
        let tokenSplit = split
        let simulate: @Sendable (Plan) -> Simulation = { plan in
            var system = SimulatedSystem(plan, cluster: cluster)
            if sizes.areTokens { system.setTokenTimes(cluster, split: tokenSplit) }
            return Simulation(
                system, arrivals: arrivals, sizes: sizes, length: length, seed: seed, faults: faults ?? .none,
                queueLimit: queueLimit)
        }
        var plan: Plan
        if self.cluster != nil {
            let reading = try PlanJSON.decode(text, cluster: pool, file: file)
            if let violation = reading.violations.first { throw InvalidWorkload("\(file): \(violation)") }
            plan = reading.plan
        } else {
            var options = planning.options
            if let tokens = clusterFile.demand.meanOutputTokens { options.outputTokens = tokens }
            if case .tuned(by: .simulated) = options.capacity {
                plan = try await SimulatedTuning.choose(pool, options: options, simulation: simulate).plan
            } else {
                plan = try Planner.plan(pool, options: options)
            }
        }
        let simulation = simulate(plan)
        let contenders = try contenders(simulation, plan) { name in
            try RoutedPool(clusterFile, cluster, sizes, split: tokenSplit, policy: name)
        }
        return SimulationSetting(
            plan: plan, cluster: pool, simulation: simulation, contenders: contenders,
            arrivalsText: self.arrivals, sizesText: self.sizes)
    }

    private func checkNumbers() throws {
        if let jobs, jobs < 1 { throw InvalidWorkload("--jobs \(jobs): count at least one job") }
        if let warmUp, warmUp < 0 { throw InvalidWorkload("--warm-up \(warmUp): it cannot be negative") }
        if let queueLimit, queueLimit < 0 {
            throw InvalidWorkload("--queue-limit \(queueLimit): it cannot be negative")
        }
        guard (1...10_000).contains(replications) else {
            throw InvalidWorkload("--replications \(replications): give 1 to 10,000")
        }
        guard decodeWeight > 0, decodeWeight.isFinite else {
            throw InvalidWorkload("--decode-weight \(decodeWeight): give a positive number")
        }
    }

    private func runLength(_ arrivals: ArrivalProcess) throws -> RunLength {
        var precisionValue: Double?
        if let text = precision {
            let isPercent = text.hasSuffix("%")
            let digits = isPercent ? String(text.dropLast()) : text
            guard let value = Double(digits), value > 0, value / (isPercent ? 100 : 1) < 1 else {
                throw InvalidWorkload("--precision \(text): write it as 1% or 0.01")
            }
            precisionValue = value / (isPercent ? 100 : 1)
        }
        if case .times(let times) = arrivals {
            let warmUp = warmUp ?? 0
            guard warmUp < times.count else {
                throw InvalidWorkload("--warm-up \(warmUp): the trace has \(times.count) requests")
            }
            return RunLength(
                jobs: min(jobs ?? times.count, times.count - warmUp), warmUp: warmUp,
                precision: precisionValue)
        }
        return RunLength(jobs: jobs ?? 100_000, warmUp: warmUp, precision: precisionValue)
    }

    private func contenders(
        _ simulation: Simulation, _ plan: Plan, routedPool: (_ policy: String) throws -> RoutedPool
    ) throws -> [Contender] {
        let names =
            policy == "all"
            ? ["jffc", "jffc-wait"] + DedicatedPolicyName.all : policy.split(separator: ",").map(String.init)
        guard !names.isEmpty else { throw InvalidWorkload("--policy: name a policy") }
        return try names.map { name in
            switch name {
            case "jffc": return .chains(.jffc)
            case "jffc-wait": return .chains(.jffcWait(thresholds: try thresholds(simulation, plan)))
            default:
                if let policy = DedicatedPolicyName.policy(name) { return .chains(.dedicated(policy)) }
                guard let policy = RoutedPolicy(rawValue: name) else {
                    let known =
                        ["jffc", "jffc-wait"] + DedicatedPolicyName.all
                        + RoutedPolicy.allCases.map(\.rawValue)
                    throw InvalidWorkload(
                        "--policy \(name): it is not one of \(known.joined(separator: ", "))")
                }
                try checkRouted(name, simulation)
                return .routed(policy, try policy.system(try routedPool(name), seed: seed))
            }
        }
    }

    /// What a system that routes per request cannot be simulated with.
    private func checkRouted(_ name: String, _ simulation: Simulation) throws {
        var option: String?
        if faults != nil { option = "--faults" }
        if precision != nil { option = "--precision" }
        if queueLimit != nil { option = "--queue-limit" }
        if case .closedLoop = simulation.arrivals { option = "--arrivals closed" }
        guard let option else { return }
        throw InvalidWorkload(
            "--policy \(name): it routes a request once, as it comes, to servers that stay; leave \(option) out"
        )
    }

    /// Those of the plan, or chosen for the rate of the arrivals.
    private func thresholds(_ simulation: Simulation, _ plan: Plan) throws -> [Int] {
        if plan.dispatch.rule == .jffcWait { return plan.dispatch.thresholds }
        let chains = ParallelChains(plan.chains)
        let rate = simulation.arrivals.meanRate ?? plan.demand.arrivalRate
        guard let jffc = ExactAnalysis(chains, arrivalRate: rate) else {
            throw InvalidWorkload("--policy jffc-wait: there is no steady state at \(rate) jobs per second")
        }
        return WaitThresholds.choose(chains, arrivalRate: rate, jffc: jffc).thresholds
    }
}

/// The options of `plan` that decide what is simulated.
struct PlanningFlags: ParsableArguments {
    @Option(
        name: .long, help: "Fix the jobs that every reserved chain must hold at once, instead of tuning it.")
    var capacity: Int?

    @Option(name: .long, help: "Choose that capacity by this criterion (default: exact).")
    var tune: TuningCriterion?

    @Option(name: .long, help: "How servers get their blocks.")
    var placement: PlacementMethod = .gbpCR

    @Option(name: .long, parsing: .unconditional, help: "Target load between 0 and 1, instead of the file's.")
    var loadTarget: String?

    @Flag(name: .long, help: "Let tuning exceed the load target.")
    var ignoreLoadTarget = false

    @Flag(name: .long, help: "Put servers left unused to work where that lowers the exact mean.")
    var useAllServers = false

    @Flag(name: .long, help: "Improve the placement by moving, resizing and swapping servers.")
    var improve = false

    func validate() throws {
        if capacity != nil, tune != nil {
            throw ValidationError("--capacity fixes what --tune would choose: give one of the two")
        }
    }

    var options: PlanningOptions {
        PlanningOptions(
            placement: placement, capacity: capacity.map { .fixed($0) } ?? .tuned(by: tune ?? .exact),
            ignoreLoadTarget: ignoreLoadTarget, useAllServers: useAllServers, improve: improve)
    }
}
