import ChainModel

/// All that future decisions depend on, in one canonical form: for comparing, and for studying an incident.
extension Dispatcher {
    public struct Snapshot: Hashable, Sendable {
        /// A job and its history.
        public struct Job: Hashable, Sendable {
            public var id: JobID
            /// Starts so far, a current one included.
            public var attempts: Int
            /// Of these, those that do not count towards the limit.
            public var excused: Int
            /// When it began to wait or to run.
            public var since: Instant
        }

        /// Indexed by `ServerIndex`.
        public var servers: [ServerState]
        /// Indexed by `ServerIndex`.
        public var isResting: [Bool]
        /// Jobs that wait, head first.
        public var waiting: [Job]
        /// Jobs that run on each chain, in order of arrival; indexed by `ChainIndex`.
        public var running: [[Job]]
        /// The highest number of any job offered.
        public var lastArrival: JobID?
        public var isDraining: Bool
        public var isDrained: Bool
    }

    /// O(K + n log n).
    public var snapshot: Snapshot {
        func entry(_ slot: JobSlot) -> Snapshot.Job {
            Snapshot.Job(
                id: jobs[slot].id, attempts: Int(jobs[slot].attempts), excused: Int(jobs[slot].excused),
                since: jobs[slot].since)
        }
        var running = Array(repeating: [Snapshot.Job](), count: chains.count)
        for slot in jobs.runningSlots(where: { _ in true }) {
            running[Int(jobs[slot].chain)].append(entry(slot))
        }
        return Snapshot(
            servers: servers, isResting: isResting, waiting: jobs.slots(of: queue).map(entry),
            running: running, lastArrival: lastArrival, isDraining: phase != .serving,
            isDrained: phase == .drained)
    }
}

extension Dispatcher: Equatable {
    /// Whether both decide alike from now on: the same plan and bounds, in the same state. O(K + n log n).
    public static func == (left: Dispatcher, right: Dispatcher) -> Bool {
        left.configuration == right.configuration && left.chains == right.chains
            && left.snapshot == right.snapshot
    }
}
