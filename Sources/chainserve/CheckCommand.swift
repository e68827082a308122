import ArgumentParser
import ChainFormats
import ChainModel

/// `chainserve check`: certifies a plan without the planner, and what it predicts by solving the queue.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Re-derive every constraint of a plan from the cluster alone.")

    @Argument(help: "The plan, JSON as `chainserve plan --json` prints it.")
    var plan: String

    @Option(name: .long, help: "The cluster file that the plan was made for.")
    var cluster: String

    @Flag(name: .long, help: "Print the result as JSON.")
    var json = false

    func run() throws {
        let violations = try CommandFailure.invalidInput { try certify() }
        if json { CommandFailure.say(report(violations).rendered(), toError: false) }
        let text = violations.isEmpty ? "the plan holds\n" : violations.map { "\($0)\n" }.joined()
        CommandFailure.say(text, toError: json)
        if !violations.isEmpty { throw ExitCode.failure }
    }

    private func certify() throws -> [PlanViolation] {
        let clusterFile = try ClusterFile.parse(try CommandFailure.read(cluster), file: cluster)
        let resolved = try clusterFile.resolved()
        let reading = try PlanJSON.decode(try CommandFailure.read(plan), cluster: resolved, file: plan)
        let violations = reading.violations + Certificate.violations(of: reading.plan, for: resolved)
        // Chains that do not hold predict nothing.
        return violations.isEmpty ? PredictionCheck.violations(of: reading.plan) : violations
    }

    private func report(_ violations: [PlanViolation]) -> JSONText {
        .object([
            ("valid", .bool(violations.isEmpty)),
            (
                "violations",
                .list(
                    violations.map {
                        .object([
                            ("constraint", .text($0.constraint.rawValue)), ("message", .text($0.message)),
                        ])
                    })
            ),
        ])
    }
}
