import ChainDispatch
import ChainModel

/// A job's attempt as servers know it.
struct AttemptName: Hashable, Sendable {
    var job: JobID
    var attempt: Int
}

/// From the orchestrator to a server, over a connection.
enum ServerMessage: Hashable, Sendable {
    case hello
    case load(BlockRange, RangeChecksum)
    case ping
    case open(AttemptName, firstBlock: Int, blockCount: Int)
    /// Hidden states for the positions from `position` on.
    case step(AttemptName, number: Int, position: Int, hidden: [UInt64])
    case release(AttemptName)
    case restart
    case bye
}

/// From a server to the orchestrator.
enum ServerAnswer: Hashable, Sendable {
    case welcome(holds: RangeChecksum?)
    case loaded(RangeChecksum)
    case pong
    case opened(AttemptName)
    case noRoom(AttemptName)
    case stepped(AttemptName, number: Int, hidden: [UInt64])
    /// The step does not follow the last one.
    case outOfStep(AttemptName)
    case leaving
    case closed
    case refused
}

/// One process that hosts blocks: it keeps what it loaded, computes, and never exceeds its slots.
struct ModelledServer: Sendable {
    /// A job's state on this server, block by block.
    struct Cache: Sendable {
        var name: AttemptName
        var firstBlock: Int
        var length = 0
        var states: [UInt64]
    }

    let memory: ByteCount
    /// Of one token in one block, and of one step's messages.
    let blockTime: Duration

    var isUp = true
    /// Counts its lives: what an earlier one had begun does not end in a later one.
    var life = 0
    var pausedUntil: Instant?
    /// Messages that came while it was paused.
    var backlog: [(connection: Int, message: ServerMessage)] = []
    var hangs = false
    var slowness: Int64 = 1
    var isLeaving = false
    /// The next load goes wrong.
    var loadsWrongly = false
    /// What it has on its disk, and has loaded.
    var range: BlockRange?
    var checksum: RangeChecksum?
    /// The one connection that it serves.
    var session: Int?
    var caches: [Cache] = []

    init(memory: ByteCount, blockTime: Duration) {
        self.memory = memory
        self.blockTime = blockTime
    }

    /// Slots that the jobs on it hold, one per block and job.
    var slotsUsed: Int { caches.reduce(0) { $0 + $1.states.count } }

    /// Slots that it has: `M̃_j` (eq. 3).
    func slotCount(_ model: ModelShape) -> Int {
        (memory - model.blockSize * (range?.count ?? 0)).wholeUnits(of: model.cacheSize)
    }

    mutating func open(
        _ name: AttemptName, firstBlock: Int, blockCount: Int, model: ModelShape
    ) -> ServerAnswer {
        guard let range, range.contains(firstBlock), firstBlock + blockCount <= range.end,
            slotsUsed + blockCount <= slotCount(model)
        else { return .noRoom(name) }
        caches.append(
            Cache(name: name, firstBlock: firstBlock, states: Array(repeating: 0, count: blockCount)))
        return .opened(name)
    }

    mutating func step(
        _ name: AttemptName, number: Int, position: Int, hidden: [UInt64]
    ) -> ServerAnswer? {
        // Released while the step was on its way.
        guard let index = caches.firstIndex(where: { $0.name == name }) else { return nil }
        guard caches[index].length == position else { return .outOfStep(name) }
        var output = hidden
        for row in output.indices {
            for block in caches[index].states.indices {
                output[row] = ModelledModel.apply(
                    block: caches[index].firstBlock + block, to: output[row],
                    state: &caches[index].states[block])
            }
        }
        caches[index].length += hidden.count
        return .stepped(name, number: number, hidden: output)
    }

    mutating func release(_ name: AttemptName) { caches.removeAll { $0.name == name } }

    mutating func stop() {
        isUp = false
        life += 1
        pausedUntil = nil
        backlog = []
        hangs = false
        isLeaving = false
        session = nil
        caches = []
    }
}
