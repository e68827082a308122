import Testing

@testable import ChainOrchestrator

@Suite("An actor over a lock")
struct LockedExecutorTests {
    private actor Counter {
        private let executor = LockedExecutor(label: "test")
        nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
        private(set) var count = 0

        func add() {
            let seen = count
            // Long enough for others to come between, were they let in.
            for _ in 0..<100 { _ = Self.step() }
            count = seen + 1
        }

        @inline(never)
        private static func step() -> Int { .random(in: 0...1) }

        nonisolated func addNow() { executor.run { assumeIsolated { $0.add() } } }
    }

    @Test("jobs and code that is let in at once exclude each other, whatever thread they come from")
    func exclusion() async {
        let counter = Counter()
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<8 {
                group.addTask {
                    for _ in 0..<500 {
                        if number.isMultiple(of: 2) { counter.addNow() } else { await counter.add() }
                    }
                }
            }
        }
        #expect(await counter.count == 4000)
    }
}
