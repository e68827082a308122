import Foundation

/// Two files beside the journal into which the records of requests are appended, in the calling thread and in one write
/// each, before they are in the journal's tables: handed to the operating system, they survive the death of the process.
///
/// The files take turns: while one is appended to, the other waits until the tables have all that is in it, and is
/// emptied. Not thread-safe: the journal's lock guards it.
struct RequestLog {
    private struct File {
        var descriptor: Int32
        var size = 0
        /// Position of the last record in it.
        var lastPosition: UInt64 = 0
    }

    /// Bytes that both files may hold together.
    let sizeLimit: Int
    private var files: [File] = []
    private var active = 0
    /// What was half-written could not be taken back: nothing may follow it until the file is emptied.
    private var isTorn = false

    static func paths(of journal: String) -> [String] { [journal + "-log0", journal + "-log1"] }

    /// Opens the files, readable by their owner alone.
    /// - Throws: `JournalError.cannotOpen`.
    init(journal: String, sizeLimit: Int) throws {
        self.sizeLimit = sizeLimit
        for path in Self.paths(of: journal) {
            let descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else {
                let reason = String(cString: strerror(errno))
                for file in files { close(file.descriptor) }
                throw JournalError.cannotOpen(path, reason: reason)
            }
            fchmod(descriptor, 0o600)
            files.append(File(descriptor: descriptor))
        }
    }

    /// What a killed process left in its logs: acceptances before what became of them.
    static func leftovers(of journal: String) -> [JournalRecord] {
        let records = paths(of: journal).flatMap { path in
            JournalRecord.records(in: FileManager.default.contents(atPath: path).map { Array($0) } ?? [])
        }
        return records.filter(\.isAcceptance) + records.filter { !$0.isAcceptance }
    }

    /// - Returns: whether the operating system has the record now.
    mutating func append(_ frame: ArraySlice<UInt8>, position: UInt64) -> Bool {
        guard !isTorn, files[0].size + files[1].size + frame.count <= sizeLimit else { return false }
        let file = files[active]
        var written = -1
        repeat {
            written = frame.withUnsafeBytes { write(file.descriptor, $0.baseAddress, $0.count) }
        } while written < 0 && errno == EINTR
        guard written == frame.count else {
            if written > 0, ftruncate(file.descriptor, off_t(file.size)) != 0 {
                isTorn = true
                files[active].size += written
            }
            return false
        }
        files[active].size += frame.count
        files[active].lastPosition = position
        return true
    }

    /// Lets the files take turns where that can be done.
    /// - Parameter position: what the tables have.
    /// - Returns: the file to be emptied now.
    mutating func turn(written position: UInt64) -> Int? {
        if files[1 - active].size == 0, files[active].size > 0 {
            active = 1 - active
            isTorn = false
        }
        let other = files[1 - active]
        return other.size > 0 && other.lastPosition <= position ? 1 - active : nil
    }

    func descriptor(of file: Int) -> Int32 { files[file].descriptor }
    mutating func noteEmptied(_ file: Int) { files[file].size = 0 }

    /// Closes the files, and removes them when the tables have all that is in them.
    func end(journal: String, removesFiles: Bool) {
        for (file, path) in zip(files, Self.paths(of: journal)) {
            close(file.descriptor)
            if removesFiles { unlink(path) }
        }
    }
}

extension JournalRecord {
    fileprivate var isAcceptance: Bool {
        if case .accepted = self { true } else { false }
    }
}
