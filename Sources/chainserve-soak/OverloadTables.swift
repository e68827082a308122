import ChainDispatch
import ChainFaults

/// Tables of the control plane under too much load, for docs/reliability.md.
enum OverloadTables {
    /// Three chains, ν = 8 jobs/s, mean service 1.5 to 2 s.
    static let chains = [
        (capacity: 4, seconds: 1.0), (capacity: 4, seconds: 2.0), (capacity: 8, seconds: 4.0),
    ]

    static func print() {
        var configuration = ControlConfiguration()
        configuration.queueLimit = 64
        Swift.print("Sustained load, 600 s, queue limit 64, nu = 8 jobs/s:\n")
        Swift.print(
            "| load | come again | throughput/nu | mean response s | bound s | longest queue | most tickets |"
                + " honoured | refused outright |")
        Swift.print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for patience in [0.0, 0.5, 1.0] {
            for factor in [0.5, 0.8, 1, 1.5, 2, 5, 10] {
                row(configuration, factor, patience)
            }
        }
        Swift.print("\nA burst of 400 over a load below capacity, all wait as told, 300 s:\n")
        Swift.print("| load | queue limit | seeds | told to wait | came | accepted then |")
        Swift.print("| --- | --- | --- | --- | --- | --- |")
        for limit in [4, 16, 64, 256] {
            for factor in [0.3, 0.6, 0.9] { burst(limit, factor) }
        }
    }

    private static func row(_ configuration: ControlConfiguration, _ factor: Double, _ patience: Double) {
        let load = OverloadSimulation.Load(factor: factor, patience: patience, span: 600, seed: 1)
        var simulation = OverloadSimulation(chains: chains, configuration: configuration, load: load)
        let outcome = simulation.run()
        let bound = 2 * (Double(configuration.queueLimit) / 8 + 16 / 8.0)
        let fields = [
            "\(factor)", "\(Int(patience * 100)) %", decimal(outcome.throughput / 8, 3),
            decimal(outcome.meanResponse, 2), decimal(bound, 1), "\(outcome.longestQueue)",
            "\(outcome.mostTickets)",
            outcome.returned > 0 ? decimal(outcome.honouredFraction * 100, 1) + " %" : "—",
            decimal(Double(outcome.outright) / Double(outcome.offered) * 100, 1) + " %",
        ]
        Swift.print("| " + fields.joined(separator: " | ") + " |")
    }

    private static func burst(_ limit: Int, _ factor: Double) {
        var configuration = ControlConfiguration()
        configuration.queueLimit = limit
        var told = 0
        var came = 0
        var honoured = 0
        for seed in UInt64(1)...20 {
            var load = OverloadSimulation.Load(factor: factor, patience: 1, span: 300, seed: seed)
            load.burst = 400
            var simulation = OverloadSimulation(chains: chains, configuration: configuration, load: load)
            let outcome = simulation.run()
            told += outcome.ticketed
            came += outcome.returned
            honoured += outcome.honoured
        }
        let fields = [
            "\(factor)", "\(limit)", "20", "\(told)", "\(came)",
            decimal(Double(honoured) / Double(max(1, came)) * 100, 1) + " %",
        ]
        Swift.print("| " + fields.joined(separator: " | ") + " |")
    }

    static func decimal(_ value: Double, _ places: Int) -> String {
        var scale = 1
        for _ in 0..<places { scale *= 10 }
        let scaled = Int((value * Double(scale)).rounded())
        if places == 0 { return "\(scaled)" }
        let fraction = "\(scaled % scale)"
        return "\(scaled / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
    }
}
