import ChainFaults

/// What was asked for on the command line.
struct SoakCommand {
    enum Problem: Error, CustomStringConvertible {
        case unknown(String)
        case missing(String)
        case bad(option: String, value: String)

        var description: String {
            switch self {
            case .unknown(let word): "\(word) is not an option"
            case .missing(let option): "\(option) needs a value"
            case .bad(let option, let value): "\(option) cannot be \(value)"
            }
        }
    }

    static let usage = """
        usage: chainserve-soak [--seeds FIRST..LAST] [--seed N] [--faults KIND,KIND,...] [--transcript] [--digests]
               chainserve-soak --overload
          --seeds       seeds to run, 1..1000 by default
          --seed        one seed
          --faults      these troubles instead of those that each seed chooses
          --transcript  print every event (of one seed)
          --overload    print tables of the control plane under too much load
          --digests     print each seed's digest, for comparison with another process
        kinds: \(FaultKind.allCases.map(\.rawValue).joined(separator: " "))
        """

    var seeds: ClosedRange<UInt64> = 1...1000
    var faults: [FaultKind]?
    var printsTranscript = false
    var printsDigests = false
    var simulatesOverload = false

    /// - Parameter words: the arguments without the command's name.
    init(_ words: some Sequence<String>) throws(Problem) {
        var words = Array(words)[...]
        while let option = words.popFirst() {
            switch option {
            case "--transcript": printsTranscript = true
            case "--digests": printsDigests = true
            case "--overload": simulatesOverload = true
            case "--seeds", "--seed", "--faults":
                guard let value = words.popFirst() else { throw .missing(option) }
                guard take(option, value) else { throw .bad(option: option, value: value) }
            default: throw .unknown(option)
            }
        }
    }

    private mutating func take(_ option: String, _ value: String) -> Bool {
        if option == "--faults" {
            let kinds = value.split(separator: ",").map { FaultKind(rawValue: String($0)) }
            faults = kinds.compactMap { $0 }
            return !kinds.contains(nil)
        }
        let ends = value.split(separator: ".", omittingEmptySubsequences: true).map { UInt64($0) }
        guard let first = ends.first ?? nil, let last = ends.last ?? nil, first <= last, ends.count <= 2
        else { return false }
        seeds = first...last
        return true
    }

    /// - Returns: whether every promise was kept.
    func run() -> Bool {
        if simulatesOverload {
            OverloadTables.print()
            return true
        }
        var sum = SoakSummary()
        for seed in seeds {
            let scenario = FaultScenario(seed: seed, faults: faults)
            var world = FaultWorld(scenario, keepsLines: printsTranscript)
            let report = world.run()
            if printsTranscript { for line in world.lines { print(line) } }
            if printsDigests || printsTranscript {
                print("seed \(seed) digest \(hexadecimal(report.digest))")
            }
            if let violation = report.violations.first {
                let faults = scenario.faults.map(\.rawValue).joined(separator: ",")
                print("seed \(seed) FAILED \(violation) (faults: \(faults))")
            }
            sum.add(report)
        }
        print(sum.text)
        return sum.broken == 0
    }

    private func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
