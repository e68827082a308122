import ArgumentParser
import Foundation

/// Throws damaged input at every parser that strangers can reach: no crash, no hang, no memory without bound.
@main
struct FuzzCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chainserve-fuzz",
        abstract: "Fuzz the parsers: wire frames, GGUF, cluster files, server-sent events, requests.",
        discussion: """
            Each input is made from the corpus, the seed and its number alone, so that a finding is repeated with \
            --seed S --first N --count 1. Add --save FILE to keep the input, and put it into the corpus.
            """)

    static let targets = [
        WireTarget.name, GGUFTarget.name, ClusterTarget.name, EventsTarget.name, RequestsTarget.name,
    ]

    @Argument(help: "One of \(targets.joined(separator: ", ")), or all.")
    var target = "all"

    @Option(help: "Inputs for each target (default: 10,000,000 frames, 1,000,000 of the others).")
    var count: Int?

    @Option(help: "Seed of the run.")
    var seed: UInt64 = 1

    @Option(help: "Number of the first input.")
    var first = 0

    @Option(help: "Folder with a folder of inputs for each target.")
    var corpus = "Tests/Fuzz/corpus"

    @Option(help: "Write each input to this file before it is tried.")
    var save: String?

    @Option(help: "Seconds after which an input counts as a hang.")
    var hangLimit = 20

    @Option(help: "Memory, in MB, that the process may come to use before it is ended.")
    var memoryLimit = 4096

    /// More growth of memory than this over one target's run is a finding, bytes.
    static let growthBound = 256 << 20

    func validate() throws {
        guard target == "all" || Self.targets.contains(target) else {
            throw ValidationError(
                "there is no target '\(target)'; use \(Self.targets.joined(separator: ", ")) or all")
        }
        guard count ?? 1 > 0, first >= 0, hangLimit > 0, memoryLimit > 0 else {
            throw ValidationError(
                "--count, --hang-limit and --memory-limit must be positive, --first not negative")
        }
    }

    func run() throws {
        let size = rlim_t(memoryLimit) << 20
        var limit = rlimit(rlim_cur: size, rlim_max: size)
        #if os(Linux)
            setrlimit(__rlimit_resource_t(RLIMIT_DATA.rawValue), &limit)
        #else
            setrlimit(RLIMIT_DATA, &limit)
        #endif
        FuzzPosition.catchCrashes()
        FuzzPosition.watch(limit: hangLimit)
        Self.say("seed \(seed)")
        var hasGrown = false
        for name in target == "all" ? Self.targets : [target] {
            let outcome: FuzzRun.Outcome
            switch name {
            case WireTarget.name: outcome = try fuzz(WireTarget())
            case GGUFTarget.name:
                let target = try GGUFTarget()
                defer { target.remove() }
                outcome = try fuzz(target)
            case ClusterTarget.name: outcome = try fuzz(ClusterTarget())
            case EventsTarget.name: outcome = try fuzz(EventsTarget())
            default: outcome = try fuzz(RequestsTarget())
            }
            let total = outcome.accepted + outcome.refused
            let rate = Double(total) / max(outcome.seconds, 1e-9)
            Self.say(
                "\(name): \(total) inputs, \(outcome.accepted) accepted, \(outcome.refused) refused,"
                    + " \(Int(rate)) a second, memory +\(outcome.growth >> 20) MB")
            hasGrown = hasGrown || outcome.growth > Self.growthBound
        }
        if hasGrown {
            FileHandle.standardError.write(
                Data("fuzz: memory grew by more than \(Self.growthBound >> 20) MB\n".utf8))
            throw ExitCode.failure
        }
    }

    /// At once, also into a file: a run takes minutes.
    private static func say(_ line: String) {
        FileHandle.standardOutput.write(Data((line + "\n").utf8))
    }

    private func fuzz<Target: FuzzTarget>(_ target: Target) throws -> FuzzRun.Outcome {
        var target = target
        let folder = URL(fileURLWithPath: corpus).appendingPathComponent(Target.name)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        let inputs = try names.sorted().map {
            [UInt8](try Data(contentsOf: folder.appendingPathComponent($0)))
        }
        guard !inputs.isEmpty else {
            throw ValidationError(
                "\(folder.path) holds no inputs to start from: run in the package's folder, or give --corpus")
        }
        let run = FuzzRun(
            seed: seed, first: first, count: count ?? Target.count, corpus: inputs, savePath: save)
        return try run.run(&target)
    }
}
