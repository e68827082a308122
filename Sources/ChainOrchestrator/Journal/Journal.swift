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
        var records: [JournalEntry] = []
        /// Records ever added, and those on disk.
        var added: UInt64 = 0
        var written: UInt64 = 0
        var waiters: [Waiter] = []
        var failure: JournalError?
        /// Steps that found no room: what comes after cannot be replayed.
        var lostSteps = 0
        var isClosing = false
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
        do {
            run = try store.beginRun(setting, at: Self.wallClock)
        } catch {
            throw JournalError.cannotOpen(configuration.path, reason: "\(error)")
        }
        buffer = Mutex(Buffer())
        let thread = Thread { [self] in
            writeUntilClosed()
            ended.signal()
        }
        thread.name = "chainserve-journal"
        thread.start()
    }

    static var wallClock: Double { Date().timeIntervalSince1970 }

    // MARK: Adding

    /// Why no request can be accepted now; `nil` when all is well.
    package var problem: JournalError? {
        buffer.withLock { buffer in
            buffer.failure
                ?? (buffer.records.count >= configuration.bufferLimit
                    ? .behind(buffer.records.count) : nil)
        }
    }

    /// Takes a record; returns at once.
    /// - Returns: its position, for `waitUntilWritten`.
    @discardableResult
    func add(_ record: JournalEntry) -> UInt64 {
        let (position, isFirst) = buffer.withLock { buffer in
            // The ends of requests are always kept: there are no more of them than of requests.
            if case .step = record, buffer.records.count >= configuration.bufferLimit {
                buffer.lostSteps += 1
                return (buffer.added, false)
            }
            buffer.records.append(record)
            buffer.added += 1
            return (buffer.added, buffer.records.count == 1)
        }
        if isFirst { wake.signal() }
        return position
    }

    /// Returns when everything up to `position` is on disk, or why it is not.
    func waitUntilWritten(_ position: UInt64) async -> JournalError? {
        await withCheckedContinuation { answer in
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
        _ = flock(lockDescriptor, LOCK_UN)
        closeDescriptor(lockDescriptor)
    }

    // MARK: Writing

    private func writeUntilClosed() {
        var nextStep = 0
        var lastPruned = ContinuousClock.now
        while true {
            let isClosing = buffer.withLock { $0.isClosing && $0.records.isEmpty }
            if isClosing { return answerWaiters() }
            wait()
            let batch = buffer.withLock { buffer in
                let batch = buffer.records
                return Array(batch.prefix(Self.batchLimit))
            }
            guard !batch.isEmpty else { continue }
            do {
                nextStep += try store.write(
                    batch, run: run, firstStep: nextStep, keepsTexts: configuration.keepsTexts,
                    at: Self.wallClock)
                succeeded(batch.count)
            } catch {
                failed("\(error)")
                if buffer.withLock({ $0.isClosing }) { return }
            }
            if ContinuousClock.now - lastPruned > .seconds(configuration.pruneInterval.seconds) {
                lastPruned = .now
                prune()
            }
        }
    }

    /// Most records in one commit.
    private static let batchLimit = 4096

    /// Returns when there is something to write now: at once when somebody waits for it, else a little later, so that
    /// more is written together.
    private func wait() {
        let (isEmpty, isAwaited, hasFailed) = buffer.withLock {
            ($0.records.isEmpty, !$0.waiters.isEmpty || $0.isClosing, $0.failure != nil)
        }
        if hasFailed {
            Thread.sleep(forTimeInterval: configuration.retryInterval.seconds)
        } else if isEmpty {
            wake.wait()
        } else if !isAwaited {
            _ = wake.wait(timeout: .now() + .nanoseconds(Int(configuration.commitInterval.nanoseconds)))
        }
    }

    private func succeeded(_ count: Int) {
        let (answered, wasFailing) = buffer.withLock { buffer in
            buffer.records.removeFirst(count)
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

    private func prune() {
        do {
            try store.prune(
                endedBefore: Self.wallClock - configuration.ageLimit.seconds, size: configuration.sizeLimit,
                currentRun: run)
        } catch {
            logger.warning("old records of the journal cannot be removed", metadata: ["reason": "\(error)"])
        }
    }

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
