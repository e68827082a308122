import ChainEngine
import ChainModel
import Dispatch
import Foundation
import GRDB
import Logging
import Synchronization

/// What a service has accepted and what became of it, on disk: written in order by a thread of its own, many records in
/// one commit, away from the paths that requests take.
///
/// With `Durability.process` the word to a client waits for no disk and no thread: the calling thread hands the record of
/// a request to the operating system (`RequestLog`), which keeps it when the process is killed; the tables get it within
/// `commitInterval`, and the disk within `syncInterval` more. With `power` the word waits for a commit on the disk.
///
/// When nothing can be written, because the disk is full, requests that were accepted go on and new ones are refused;
/// writing is tried again until it succeeds.
package final class Journal: Sendable {
    package let configuration: JournalConfiguration
    let run: Int64

    private let store: JournalStore
    private let buffer: Mutex<Buffer>
    private let wake = DispatchSemaphore(value: 0)
    private let logger: Logger
    /// Holds the lock that says whose journal this is. Open as long as the database: closing a descriptor of a file lets
    /// go of every lock that SQLite has on it.
    private let lockDescriptor: Int32
    private let ended = DispatchSemaphore(value: 0)

    private struct Waiter {
        var position: UInt64
        var answer: CheckedContinuation<JournalError?, Never>
    }

    private struct Buffer {
        var records = RecordBuffer()
        /// Records that the thread has taken from there and not written yet.
        var taken = 0
        /// Records ever added, and those in the tables.
        var added: UInt64 = 0
        var written: UInt64 = 0
        /// `nil` with `Durability.power`.
        var log: RequestLog?
        /// The last record of a request that the log did not take: until the tables have it, later ones stand on nothing.
        var lastUnlogged: UInt64 = 0
        var waiters: [Waiter] = []
        var failure: JournalError?
        /// Steps that found no room: what comes after cannot be replayed.
        var lostSteps = 0
        var isClosing = false

        var waiting: Int { records.count + taken }
    }

    /// Opens or makes the journal and begins a run. Its thread keeps it until `close`.
    /// - Throws: `JournalError`.
    package init(_ configuration: JournalConfiguration, run setting: JournalRun, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        store = try JournalStore(configuration)
        lockDescriptor = open(configuration.path, O_RDWR)
        guard lockDescriptor >= 0, flock(lockDescriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw JournalError.inUse(configuration.path)
        }
        var first = Buffer()
        do {
            let left = RequestLog.leftovers(of: configuration.path)
            // Steps are not in the log: those of the moment before the process was killed are not known.
            _ = try store.write(left, run: 0, firstStep: 0, at: Self.wallClock)
            try store.sync()
            for path in RequestLog.paths(of: configuration.path) { unlink(path) }
            if configuration.durability == .process {
                let limit = min(configuration.logLimit.rawValue, configuration.hardSizeLimit.rawValue / 8)
                first.log = try RequestLog(journal: configuration.path, sizeLimit: limit)
            }
            run = try store.beginRun(setting, at: Self.wallClock)
        } catch let error as JournalError {
            throw error
        } catch {
            throw JournalError.cannotOpen(configuration.path, reason: "\(error)")
        }
        buffer = Mutex(first)
        let givesWay = configuration.durability == .process
        let thread = Thread { [self] in
            if givesWay { Self.giveWay() }
            writeUntilClosed()
            ended.signal()
        }
        thread.name = "chainserve-journal"
        // Where no request waits for the tables, what requests do goes first.
        if givesWay { thread.qualityOfService = .utility }
        thread.start()
    }

    /// Lowers the calling thread's priority, where threads have one of their own and quality of service says nothing.
    private static func giveWay() {
        #if canImport(Glibc)
            // Of this thread alone, on Linux.
            _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
        #endif
    }

    static var wallClock: Double { Date().timeIntervalSince1970 }

    // MARK: Adding

    /// Why no request can be accepted now; `nil` when all is well.
    package var problem: JournalError? {
        buffer.withLock { buffer in
            buffer.failure
                ?? (buffer.waiting >= configuration.bufferLimit ? .behind(buffer.waiting) : nil)
        }
    }

    /// Takes an entry, and hands it to the operating system where the configuration has it so; waits for nothing else.
    /// - Returns: its position, for `isKept` and `waitUntilKept`.
    @discardableResult
    func add(_ entry: JournalEntry) -> UInt64 {
        let time = Self.wallClock
        let isLogged = entry.isOfRequest && configuration.durability == .process
        let (position, isFirst) = buffer.withLock { buffer in
            // The ends of requests are always kept: there are no more of them than of requests.
            if !entry.isOfRequest, buffer.waiting >= configuration.bufferLimit {
                buffer.lostSteps += 1
                return (buffer.added, false)
            }
            buffer.records.append(
                entry, run: run, keepsTexts: configuration.keepsTexts, isLogged: isLogged, at: time)
            buffer.added += 1
            if isLogged, buffer.log?.append(buffer.records.lastFrame, position: buffer.added) != true {
                buffer.lastUnlogged = buffer.added
            }
            return (buffer.added, buffer.records.count == 1)
        }
        if isFirst { wake.signal() }
        return position
    }

    /// Whether a client may be told of what was added at `position`: it survives what the configuration promises.
    func isKept(_ position: UInt64) -> Bool {
        buffer.withLock { $0.written >= Self.needed(for: position, in: $0) }
    }

    /// Returns when that is so, or why it is not.
    func waitUntilKept(_ position: UInt64) async -> JournalError? {
        let needed: UInt64 = buffer.withLock { Self.needed(for: position, in: $0) }
        return await waitUntilWritten(needed)
    }

    /// What the tables must have before the record at `position` is kept.
    private static func needed(for position: UInt64, in buffer: Buffer) -> UInt64 {
        buffer.log == nil ? position : min(position, buffer.lastUnlogged)
    }

    /// Returns when the tables have all that was added before, or cannot be written.
    func flush() async {
        let position = buffer.withLock { $0.added }
        _ = await waitUntilWritten(position)
    }

    /// Returns when the tables have everything up to `position`, or why they have not.
    func waitUntilWritten(_ position: UInt64) async -> JournalError? {
        if buffer.withLock({ $0.written >= position }) { return nil }
        return await withCheckedContinuation { answer in
            let result: JournalError?? = buffer.withLock { buffer in
                if buffer.written >= position { return .some(nil) }
                if let failure = buffer.failure { return .some(failure) }
                buffer.waiters.append(Waiter(position: position, answer: answer))
                return nil
            }
            if let result { answer.resume(returning: result) } else { wake.signal() }
        }
    }

    /// Writes what waits, notes that the run ended, and closes.
    package func close() {
        buffer.withLock { $0.isClosing = true }
        wake.signal()
        ended.wait()
        try? store.endRun(run, at: Self.wallClock)
        try? store.database.close()
        buffer.withLock { buffer in
            buffer.log?.end(journal: configuration.path, removesFiles: buffer.written == buffer.added)
            buffer.log = nil
        }
        _ = flock(lockDescriptor, LOCK_UN)
        closeDescriptor(lockDescriptor)
    }

    // MARK: Writing

    private func writeUntilClosed() {
        var nextStep = 0
        // Taken whole, which takes no time: who adds records must not wait while they are copied or let go.
        var taken = RecordBuffer()
        var reader = RecordBuffer.Reader(taken)
        // What is written next, or was not written last.
        var batch: [JournalRecord] = []
        var (lastPruned, lastSynced) = (ContinuousClock.now, ContinuousClock.now)
        var isPruning = false
        while true {
            let isClosing = buffer.withLock { $0.isClosing && $0.waiting == 0 }
            if isClosing { return answerWaiters() }
            wait()
            do {
                if batch.isEmpty { batch = try reader.next(Self.batchLimit) }
                if batch.isEmpty {
                    // The reader lets go of the bytes, so that their memory is used again.
                    reader = RecordBuffer.Reader(RecordBuffer())
                    taken.removeAll()
                    buffer.withLock { buffer in
                        swap(&buffer.records, &taken)
                        buffer.taken = taken.count
                    }
                    reader = RecordBuffer.Reader(taken)
                    batch = try reader.next(Self.batchLimit)
                }
                guard !batch.isEmpty else { continue }
                nextStep += try store.write(
                    batch, run: run, firstStep: nextStep, at: Self.wallClock, rest: rest)
                succeeded(batch.count)
                batch = []
                emptyLog()
            } catch {
                failed("\(error)")
                if buffer.withLock({ $0.isClosing }) { return }
            }
            if isDue(configuration.syncInterval, since: &lastSynced) { sync() }
            if isDue(configuration.pruneInterval, since: &lastPruned) { isPruning = true }
            if isPruning { isPruning = prune() }
        }
    }

    /// Lets others have the processor for a moment, unless somebody waits for the tables or too much waits to be written:
    /// written in one go, the records of a commit would hold requests up for milliseconds on a machine of few processors.
    private func rest() {
        let isHurried = buffer.withLock { buffer in
            !buffer.waiters.isEmpty || buffer.isClosing || buffer.waiting > Self.batchLimit
        }
        if !isHurried { Thread.sleep(forTimeInterval: Self.restLength) }
    }

    /// Seconds.
    private static let restLength = 0.000_5

    private func isDue(_ interval: ChainModel.Duration, since last: inout ContinuousClock.Instant) -> Bool {
        guard ContinuousClock.now - last > .seconds(interval.seconds) else { return false }
        last = .now
        return true
    }

    /// Most records in one commit.
    private static let batchLimit = 4096

    /// Returns when there is something to write now: at once when somebody waits for it, else a little later, so that
    /// more is written together.
    private func wait() {
        if buffer.withLock({ $0.failure != nil }) {
            return Thread.sleep(forTimeInterval: configuration.retryInterval.seconds)
        }
        if buffer.withLock({ $0.waiting == 0 }) { wake.wait() }
        let end = DispatchTime.now() + .nanoseconds(Int(configuration.commitInterval.nanoseconds))
        while buffer.withLock({ $0.waiters.isEmpty && !$0.isClosing }) {
            if wake.wait(timeout: end) == .timedOut { return }
        }
    }

    /// Empties the half of the log whose records the tables have.
    private func emptyLog() {
        let emptied: (file: Int, descriptor: Int32)? = buffer.withLock { buffer in
            guard var log = buffer.log else { return nil }
            let file = log.turn(written: buffer.written)
            buffer.log = log
            return file.map { ($0, log.descriptor(of: $0)) }
        }
        // Nobody appends to it meanwhile, and requests need not wait for it.
        guard let emptied, ftruncate(emptied.descriptor, 0) == 0 else { return }
        buffer.withLock { $0.log?.noteEmptied(emptied.file) }
    }

    private func succeeded(_ count: Int) {
        let (answered, wasFailing) = buffer.withLock { buffer in
            buffer.taken -= count
            buffer.written += UInt64(count)
            let wasFailing = buffer.failure != nil
            buffer.failure = nil
            let answered = buffer.waiters.filter { $0.position <= buffer.written }
            buffer.waiters.removeAll { $0.position <= buffer.written }
            return (answered, wasFailing)
        }
        if wasFailing { logger.notice("the journal is written again") }
        for waiter in answered { waiter.answer.resume(returning: nil) }
    }

    /// Whoever waits is told; the records stay.
    private func failed(_ reason: String) {
        let (waiters, isNew) = buffer.withLock { buffer in
            let isNew = buffer.failure == nil
            buffer.failure = .notWritable(reason)
            let waiters = buffer.waiters
            buffer.waiters = []
            return (waiters, isNew)
        }
        if isNew { logger.error("the journal cannot be written", metadata: ["reason": "\(reason)"]) }
        for waiter in waiters { waiter.answer.resume(returning: .notWritable(reason)) }
    }

    private func answerWaiters() {
        let waiters = buffer.withLock { buffer in
            defer { buffer.waiters = [] }
            return buffer.waiters
        }
        for waiter in waiters { waiter.answer.resume(returning: nil) }
    }

    private func sync() {
        do { try store.sync() } catch {
            logger.warning(
                "the journal's last moments may not be on the disk", metadata: ["reason": "\(error)"])
        }
    }

    /// Removes what is too old or too much, piece by piece, and lets records be written in between.
    /// - Returns: whether there may be more.
    private func prune() -> Bool {
        do {
            for _ in 0..<Self.piecesPruned {
                let hasMore = try store.prune(
                    endedBefore: Self.wallClock - configuration.ageLimit.seconds,
                    size: configuration.sizeLimit,
                    currentRun: run)
                guard hasMore else { return false }
                rest()
            }
            return true
        } catch {
            logger.warning("old records of the journal cannot be removed", metadata: ["reason": "\(error)"])
            return false
        }
    }

    /// Most pieces that are removed after a commit: more than one can have added.
    private static let piecesPruned = 64

    // MARK: Earlier runs

    /// Requests that earlier runs accepted and did not end.
    func unfinished() throws -> [JournalRequest] {
        try store.requests(where: "status = 'accepted' AND run < \(run)", limit: nil)
    }

    /// The latest request of this identifier.
    func latest(requestID: String) throws -> JournalRequest? {
        try store.requests(where: "requestID = ?", arguments: [requestID], limit: 1).first
    }
}

/// Not to be mistaken for the journal's own `close`.
private func closeDescriptor(_ descriptor: Int32) { _ = close(descriptor) }
