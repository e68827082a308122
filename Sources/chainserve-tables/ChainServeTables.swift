import ChainModel
import ChainOptimum
import ChainPlanning
import Foundation

/// Prints the tables of `docs/analysis.md`, one a call.
@main
enum ChainServeTables {
    static func main() throws {
        let arguments = CommandLine.arguments
        let network = arguments.count > 2 ? RoundTrips(csv: arguments[2]) : nil
        switch (arguments.dropFirst().first, network) {
        case ("check", _): try SolverTables.agreement()
        case ("speed", _): try SolverTables.speed()
        case ("gaps", _): try OptimumTable.print()
        case ("criterion", .some(let network)): try PlanningTables.criterion(network)
        case ("thresholds", .some(let network)): try PlanningTables.thresholds(network)
        case ("improvement", .some(let network)): try PlanningTables.improvement(network)
        case ("replanning", .some(let network)): ReplanningTable.print(network)
        default:
            print("usage: chainserve-tables check | speed | gaps")
            print(
                "       chainserve-tables criterion | thresholds | improvement | replanning ROUND-TRIPS.csv")
        }
    }
}

/// Seconds that `body` takes.
func seconds<Result>(_ body: () throws -> Result) rethrows -> (Result, Double) {
    let start = ContinuousClock.now
    let result = try body()
    let time = start.duration(to: .now).components
    return (result, Double(time.seconds) + Double(time.attoseconds) * 1e-18)
}
