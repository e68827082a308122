import ArgumentParser
import ChainFormats
import ChainModel
import ChainPlanning
import ChainSimulation
import Foundation

extension PlacementMethod: ExpressibleByArgument {}
extension TuningCriterion: ExpressibleByArgument {}
extension DispatchRule: ExpressibleByArgument {}
extension PetalsParameters.Selection: ExpressibleByArgument {}

/// All cores, for what the planner can compute independently.
let concurrentLoop: IndependentLoop = { DispatchQueue.concurrentPerform(iterations: $0, execute: $1) }

/// `chainserve plan`: composes and prints the plan.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Place a model's blocks on servers and form chains over them.")

    @Argument(help: "The cluster file, YAML or JSON.")
    var file: String

    @Flag(name: .long, help: "Print the plan as JSON; the text for people goes to standard error.")
    var json = false

    @Option(name: .long, help: "Draw the plan into this SVG file.")
    var svg: String?

    @Option(help: "Print the commands that start the planned servers on an engine of their own: petals.")
    var emit: EmittedCommands?

    @Option(
        name: .long, help: "Fix the jobs that every reserved chain must hold at once, instead of tuning it.")
    var capacity: Int?

    @Option(name: .long, help: "Choose that capacity by this criterion (default: exact).")
    var tune: TuningCriterion?

    @Option(name: .long, help: "How servers get their blocks.")
    var placement: PlacementMethod = .gbpCR

    @Option(
        name: .long, parsing: .unconditional,
        help: "Jobs per second, such as 0.2 or 12/min, instead of the file's.")
    var arrivalRate: String?

    @Option(name: .long, parsing: .unconditional, help: "Target load between 0 and 1, instead of the file's.")
    var loadTarget: String?

    @Flag(name: .long, help: "Let tuning exceed the load target.")
    var ignoreLoadTarget = false

    @Option(name: .long, help: "Which chain a job starts on.")
    var dispatch: DispatchRule = .jffc

    @Flag(name: .long, help: "Put servers left unused to work where that lowers the exact mean.")
    var useAllServers = false

    @Flag(name: .long, help: "Improve the placement by moving, resizing and swapping servers.")
    var improve = false

    @Option(name: .long, help: "How the placement of PETALS compares windows of blocks.")
    var petalsSelect: PetalsParameters.Selection = .lexicographic

    @Option(
        name: .long,
        help: "Seed of the random order in which PETALS servers join, instead of the file's order.")
    var joinSeed: UInt64?

    @Flag(name: .long, help: "Check the exact mean by solving the queue itself, up to a million states.")
    var verify = false

    @Flag(name: .long, help: "Say where every number came from: given, derived and how, or a default.")
    var explain = false

    func run() async throws {
        let (file, cluster) = try CommandFailure.invalidInput { try open() }
        let plan = try await compose(file, cluster)
        if emit != nil {
            let text = try CommandFailure.invalidInput { try commands(plan, cluster) }
            CommandFailure.say(text, toError: false)
            return
        }
        let explanation = explain ? explanation(file, cluster) : nil
        let advice = DispatchAdvice(plan)
        if json {
            let text = PlanJSON.encode(plan, cluster: cluster, explanation: explanation, advice: advice)
            CommandFailure.say(text, toError: false)
        }
        CommandFailure.say(
            PlanReport.text(plan, cluster: cluster, width: CommandFailure.width), toError: json)
        if let advice { CommandFailure.say(PlanReport.advice(advice), toError: json) }
        if let explanation { CommandFailure.say("\n\(explanation.text)", toError: json) }
        for warning in PlanReport.warnings(plan) { CommandFailure.warn("warning: \(warning)") }
        if verify { CommandFailure.warn(verification(of: plan)) }
        guard let svg else { return }
        do {
            try Data(PlanPicture.svg(plan, cluster: cluster).utf8).write(to: URL(fileURLWithPath: svg))
        } catch {
            CommandFailure.warn("error: \(svg) cannot be written: \(error.localizedDescription)")
            throw ExitCode.failure
        }
    }

    private func commands(_ plan: Plan, _ cluster: Cluster) throws -> String {
        let clusterFile = try ClusterFile.parse(try CommandFailure.read(file), file: file)
        return try PetalsCommands(clusterFile).text(plan, cluster: cluster)
    }

    /// What a second, independent solution says of the exact mean under the plan's dispatch rule.
    private func verification(of plan: Plan) -> String {
        guard let exact = plan.dispatch.meanResponseTime else {
            return "not verified: there is no steady state"
        }
        let rate = plan.demand.arrivalRate
        let queue = SparseChain(
            ParallelChains(plan.chains), arrivalRate: rate, thresholds: plan.dispatch.thresholds)
        guard let queue else { return "not verified: the queue has more than a million states" }
        let solution = queue.solve()
        guard solution.residual < 1e-9 else {
            return "not verified: the solution is poor (residual \(solution.residual))"
        }
        let mean = solution.meanJobs / rate
        let difference = (mean - exact).magnitude / exact
        return "verified: \(solution.stateCount) states solved, mean response \(mean) s, relative difference "
            + "\(difference), residual \(solution.residual)"
    }

    private func open() throws -> (ClusterFile, Cluster) {
        let clusterFile = try ClusterFile.parse(try CommandFailure.read(file), file: file)
        var cluster = try clusterFile.resolved()
        for note in clusterFile.notes(for: cluster) { CommandFailure.warn("note: \(note)") }
        if let arrivalRate { cluster.demand.arrivalRate = try DemandText.arrivalRate(arrivalRate) }
        if let loadTarget { cluster.demand.loadTarget = try DemandText.loadTarget(loadTarget) }
        return (clusterFile, cluster)
    }

    /// Jobs of a simulation that tells one capacity from another, and their seed.
    private static let tuningRun = (jobs: 20_000, seed: UInt64(1))

    private func compose(_ file: ClusterFile, _ cluster: Cluster) async throws -> Plan {
        var options = options
        if let tokens = file.demand.meanOutputTokens { options.outputTokens = tokens }
        do {
            guard case .tuned(by: .simulated) = options.capacity else {
                return try Planner.plan(cluster, options: options, loop: concurrentLoop)
            }
            let choice = try await SimulatedTuning.choose(cluster, options: options) { plan in
                Simulation(
                    SimulatedSystem(plan, cluster: cluster),
                    arrivals: .poisson(rate: cluster.demand.arrivalRate),
                    length: RunLength(jobs: Self.tuningRun.jobs), seed: Self.tuningRun.seed)
            }
            return choice.plan
        } catch {
            CommandFailure.warn("error: \(error)")
            throw CommandFailure.invalidInput
        }
    }

    private func explanation(_ file: ClusterFile, _ cluster: Cluster) -> ClusterExplanation {
        let overridden =
            (arrivalRate == nil ? [] : ["arrival_rate"]) + (loadTarget == nil ? [] : ["load_target"])
        return ClusterExplanation(file, cluster: cluster, overridden: overridden)
    }

    func validate() throws {
        if capacity != nil, tune != nil {
            throw ValidationError("--capacity fixes what --tune would choose: give one of the two")
        }
    }

    private var options: PlanningOptions {
        PlanningOptions(
            placement: placement, capacity: capacity.map { .fixed($0) } ?? .tuned(by: tune ?? .exact),
            ignoreLoadTarget: ignoreLoadTarget, dispatch: dispatch,
            useAllServers: useAllServers, improve: improve,
            petals: PetalsParameters(selection: petalsSelect, joinSeed: joinSeed))
    }
}
