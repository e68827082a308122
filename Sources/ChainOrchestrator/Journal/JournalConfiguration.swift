import ChainModel

/// Where a journal is kept and the bounds it keeps. Every bound has a name and a default.
package struct JournalConfiguration: Hashable, Sendable {
    /// What an accepted request survives from before its first byte on.
    package enum Durability: String, CaseIterable, Hashable, Sendable {
        /// The death of the process: the operating system has its record.
        case process
        /// Loss of power, too: the disk has it (`fsync`).
        case power
    }

    package var durability = Durability.process
    /// One SQLite file; `-wal` and `-shm` lie beside it while it is open.
    package var path: String
    /// Prompts and answers are kept. Without them a request cannot go on after the service was killed.
    package var keepsTexts = true
    /// What ended longer ago is removed.
    package var ageLimit = Duration.seconds(7 * 86_400)
    /// Above this size the oldest is removed.
    package var sizeLimit = ByteCount(256 << 20)
    /// The file never grows above this: writing fails as on a full disk.
    package var hardSizeLimit = ByteCount(1 << 30)
    /// Records that may wait to be written. When so many wait, new requests are refused.
    package var bufferLimit = 1 << 16
    /// Records for which nobody waits are written together after this long at the latest.
    package var commitInterval = Duration.milliseconds(50)
    /// Bytes of records that the log holds until they are in the tables; beyond, a request waits for the tables. With a
    /// small file less: an eighth of `hardSizeLimit`.
    package var logLimit = ByteCount(16 << 20)
    /// With `process`, the disk has what was committed after this long, which is what loss of power may cost.
    package var syncInterval = Duration.seconds(1)
    /// How often writing is tried again after it failed.
    package var retryInterval = Duration.seconds(1)
    /// How often old records are removed.
    package var pruneInterval = Duration.seconds(60)
    /// How long after a restart a client may come back for a request that was cut off. Then it counts as interrupted.
    package var resumeWindow = Duration.seconds(120)

    package init(path: String) { self.path = path }
}

/// What is wrong with a journal, and how to mend it.
package enum JournalError: Error, Hashable, Sendable, CustomStringConvertible {
    case inUse(String)
    case newerVersion(String, version: Int)
    case notAJournal(String)
    case cannotOpen(String, reason: String)
    /// Nothing more can be written for now.
    case notWritable(String)
    /// More waits to be written than may.
    case behind(Int)

    package var description: String {
        switch self {
        case .inUse(let path):
            "the journal \(path) belongs to a service that is running; give another with --journal"
        case .newerVersion(let path, let version):
            "the journal \(path) has version \(version) of its schema, newer than this release knows; use a newer"
                + " release, or give another with --journal"
        case .notAJournal(let path): "\(path) is not a journal of chainserve; give another with --journal"
        case .cannotOpen(let path, let reason):
            "the journal \(path) cannot be opened (\(reason)); see to its folder, or give another with --journal"
        case .notWritable(let reason): "the journal cannot be written (\(reason))"
        case .behind(let count): "\(count) records wait to be written to the journal"
        }
    }
}

extension JournalError {
    /// For `x-chainserve-drop-reason`.
    var reasonWord: String {
        switch self {
        case .behind: "journal-behind"
        default: "journal-not-writable"
        }
    }
}
