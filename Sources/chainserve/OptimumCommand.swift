import ArgumentParser
import ChainFormats
import ChainModel
import ChainOptimum
import ChainPlanning

/// `chainserve optimum`: how far a plan is from the best.
struct OptimumCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "optimum",
        abstract: "Compare a plan with optimal references from an integer program (needs HiGHS).")

    @Argument(help: "The cluster file, YAML or JSON.")
    var file: String

    @Flag(name: .long, help: "Try every placement too; only for a handful of servers and blocks.")
    var exhaustive = false

    @Flag(name: .long, help: "Print the figures as JSON; the text for people goes to standard error.")
    var json = false

    func run() throws {
        try CommandFailure.invalidInput { try report() }
    }

    /// More placements than this would take hours.
    private static let mostPlacements = 2e6

    private func report() throws {
        let solver = try HighsSolver()
        let cluster = try ClusterFile.parse(try CommandFailure.read(file), file: file).resolved()
        let plan = try Planner.plan(cluster)
        let program = SlotProgram(cluster, placement: plan.placement, chains: plan.chains)
        let optimum = try program.optimum(solver)
        let relaxation = try program.relaxation(solver)
        var entries: [(key: String, value: JSONText)] = [
            ("greedy_jobs", program.greedyJobs.map { .integer($0) } ?? .null),
            ("optimal_jobs", optimum.map { .integer($0) } ?? .null),
            ("relaxed_jobs", relaxation.map { .number($0) } ?? .null),
            ("least_jobs", .integer(program.trivialBound)),
        ]
        var text = "jobs at once that carry \(program.requiredRate) jobs/s over the plan's chains (eq. 5):\n"
        text += "  GCA \(program.greedyJobs.map { "\($0)" } ?? "cannot"), "
        text += "optimum \(optimum.map { "\($0)" } ?? "none"), "
        text += "linear relaxation \(relaxation.map { "\($0)" } ?? "none"), "
        text += "all on the fastest chain \(program.trivialBound)\n"
        if exhaustive {
            let joint = try joint(cluster, solver)
            text += "over all \(joint.placements) placements: "
            text += "fewest jobs \(joint.fewestJobs.map { "\($0)" } ?? "none"), least mean response "
            text += "\(joint.leastMean.map { PlanReport.seconds($0) } ?? "none") "
            text += "(the plan's \(plan.meanResponseTime.exact.map { PlanReport.seconds($0) } ?? "none"))\n"
            entries += [
                ("placements", .integer(joint.placements)),
                ("joint_optimal_jobs", joint.fewestJobs.map { .integer($0) } ?? .null),
                ("joint_least_mean_response_time", joint.leastMean.map { .number($0) } ?? .null),
                ("mean_response_time", plan.meanResponseTime.exact.map { .number($0) } ?? .null),
            ]
        }
        if json { CommandFailure.say(JSONText.object(entries).rendered(), toError: false) }
        CommandFailure.say(text, toError: json)
    }

    private func joint(_ cluster: Cluster, _ solver: HighsSolver) throws -> JointOptimum {
        let count = ExhaustivePlacements.count(cluster)
        guard count <= Self.mostPlacements else {
            throw ValidationError(
                "the pool has about \(count) placements: --exhaustive is for small pools, up to "
                    + "\(Self.mostPlacements) placements")
        }
        return try JointOptimum(cluster, solver: solver)
    }
}
