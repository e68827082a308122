import Foundation
import Synchronization

/// Where a run is, for the signal handler and the watchdog: which input a crash or a hang belongs to.
enum FuzzPosition {
    static let input = Atomic<Int>(0)
    /// Inputs begun, in all targets: still while one hangs.
    static let beats = Atomic<Int>(0)
    /// The text before and after the number, made before any input is tried: a signal handler cannot make text.
    nonisolated(unsafe) static var before: UnsafeMutablePointer<CChar>?

    static func describe(_ target: String, seed: UInt64) {
        free(before)
        before = strdup(
            "\nfuzz: crashed; replay with: chainserve-fuzz \(target) --seed \(seed) --count 1 --first ")
    }

    static func catchCrashes() {
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE] {
            signal(number) { number in
                if let text = FuzzPosition.before { write(STDERR_FILENO, text, strlen(text)) }
                var value = FuzzPosition.input.load(ordering: .relaxed)
                var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
                withUnsafeMutableBytes(of: &digits) { buffer in
                    var place = buffer.count
                    repeat {
                        place -= 1
                        buffer[place] = UInt8(48 + value % 10)
                        value /= 10
                    } while value > 0
                    write(STDERR_FILENO, buffer.baseAddress! + place, buffer.count - place)
                    write(STDERR_FILENO, "\n", 1)
                }
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }

    /// Ends the process when one input takes longer than `limit` seconds.
    static func watch(limit: Int) {
        Thread.detachNewThread {
            var last = -1
            var still = 0
            while true {
                sleep(1)
                let beats = beats.load(ordering: .relaxed)
                still = beats == last ? still + 1 : 0
                last = beats
                if still >= limit {
                    let place = before.map { String(cString: $0) } ?? ""
                    let number = input.load(ordering: .relaxed)
                    FileHandle.standardError.write(
                        Data("\(place)\(number)\nfuzz: no end after \(limit) s\n".utf8))
                    exit(1)
                }
            }
        }
    }
}

/// Inputs of one target, made from the corpus and a seed.
struct FuzzRun {
    var seed: UInt64
    var first: Int
    var count: Int
    /// Inputs to start from.
    var corpus: [[UInt8]]
    /// Where the input is written before it is tried, for one that crashes.
    var savePath: String?

    struct Outcome {
        var accepted = 0
        var refused = 0
        var seconds = 0.0
        /// Growth of the largest memory the process has used, bytes.
        var growth = 0
    }

    func run<Target: FuzzTarget>(_ target: inout Target) throws -> Outcome {
        FuzzPosition.describe(Target.name, seed: seed)
        var outcome = Outcome()
        let start = ContinuousClock.now
        let memory = Self.largestMemory
        for input in first..<(first + count) {
            FuzzPosition.input.store(input, ordering: .relaxed)
            FuzzPosition.beats.add(1, ordering: .relaxed)
            var generator = InputGenerator(seed: seed, input: input)
            var bytes = corpus[generator.below(corpus.count)]
            // One in sixteen as it is: the corpus itself must keep its meaning.
            if generator.below(16) > 0 {
                bytes = target.mutator.mutate(bytes, corpus: corpus, using: &generator)
                target.finish(&bytes, using: &generator)
            }
            if let savePath { try Data(bytes).write(to: URL(fileURLWithPath: savePath)) }
            if target.parse(bytes) { outcome.accepted += 1 } else { outcome.refused += 1 }
        }
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        outcome.seconds = Double(seconds) + Double(attoseconds) * 1e-18
        outcome.growth = Self.largestMemory - memory
        return outcome
    }

    private static var largestMemory: Int {
        var usage = rusage()
        #if os(Linux)
            getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
            return usage.ru_maxrss * 1024
        #else
            getrusage(RUSAGE_SELF, &usage)
            return usage.ru_maxrss
        #endif
    }
}
