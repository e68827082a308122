import Foundation

/// Files that hold secrets.
package enum PrivateFile {
    /// Replaces a file in one step with one that only its owner may read and write.
    static func write<Failure: Error>(
        _ bytes: [UInt8], to path: String, orThrow failure: Failure
    ) throws(Failure) {
        let draft = path + ".new-\(ProcessInfo.processInfo.processIdentifier)"
        unlink(draft)
        // Made with its permissions, so that it is at no moment open to others.
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        guard descriptor >= 0 else { throw failure }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes {
                Foundation.write(descriptor, $0.baseAddress, $0.count)
            }
            guard count > 0 else { break }
            written += count
        }
        let isSynced = fsync(descriptor) == 0
        close(descriptor)
        guard written == bytes.count, isSynced, rename(draft, path) == 0 else {
            unlink(draft)
            throw failure
        }
    }

    /// Whether others than its owner may read it.
    package static func isOpenToOthers(_ path: String) -> Bool {
        var information = stat()
        return stat(path, &information) == 0 && information.st_mode & 0o077 != 0
    }
}
