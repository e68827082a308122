import ChainSecurity
import Foundation

/// The secret that `up` shares with the block servers it starts: nobody else on the machine can use them.
struct LocalToken: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/chainserve-token-\(UUID().uuidString)"
        try PoolToken.make(file: path)
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}
