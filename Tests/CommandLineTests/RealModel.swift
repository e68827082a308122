import Foundation

/// The default model, where it has been fetched: the tests of real answers run only then.
enum RealModel {
    static let fileName = "SmolLM2-135M-Instruct.Q4_1.gguf"
    /// Its name in `/v1/models` when the cluster file gives it.
    static let name = "smollm2"
    static let blockCount = 30
    static let sequenceLength = 256

    /// `nil` when it is not there.
    static let path: String? = {
        let environment = ProcessInfo.processInfo.environment
        let base =
            environment["CHAINSERVE_CACHE"] ?? environment["XDG_CACHE_HOME"].map { $0 + "/chainserve" }
            ?? NSHomeDirectory() + "/.cache/chainserve"
        let path = base + "/models/" + fileName
        return FileManager.default.fileExists(atPath: path) ? path : nil
    }()

    static func found() throws -> String {
        guard let path else { throw Failure("the default model is not in the cache: run `chainserve fetch`") }
        return path
    }

    /// Puts the model where a command run in `place` looks for it, so that it is not fetched again.
    static func putIntoCache(of place: Place) throws {
        let folder = place.folder.appendingPathComponent("cache/models")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let target = folder.appendingPathComponent(fileName)
        let source = URL(fileURLWithPath: try found())
        do {
            try FileManager.default.linkItem(at: source, to: target)
        } catch {
            // Another file system.
            try FileManager.default.copyItem(at: source, to: target)
        }
    }

    /// A pool of three unequal servers, none of which has room for the whole model.
    /// - Parameters:
    ///   - hasTimes: the file says how fast the servers are.
    ///   - addresses: of servers that somebody started already.
    static func pool(_ place: Place, hasTimes: Bool = true, addresses: [String]? = nil) throws -> String {
        var text = """
            model: {name: \(name), gguf: "\(try found())", max_sequence_length: \(sequenceLength)}
            demand: {arrival_rate: 0.5, mean_input_tokens: 24, mean_output_tokens: 24}
            servers:

            """
        for (index, memory) in memories.enumerated() {
            text += "  - {name: \(place.token)-\(index + 1), memory: \(memory)"
            if hasTimes { text += ", communication_time: 100 ms, block_time: \(20 + 5 * index) ms" }
            if let addresses { text += ", address: \"\(addresses[index])\"" }
            text += "}\n"
        }
        return try place.write("pool.yaml", text)
    }

    static let memories = ["60 MB", "52 MB", "70 MB"]
}
