import ChainEngine
import ChainModel

/// The same file cut into ranges, an engine for each on one device, and its two ends: what a chain of block
/// servers computes, without the wire between them.
final class ChainedEngines {
    let ends: ModelEnds
    private let engines: [GGMLEngine]
    private var jobs: [EngineJobID] = []
    private var nextJob: UInt64 = 1

    var deviceName: String { engines[0].deviceName }
    /// Bytes on the device.
    var memoryUsed: Int {
        engines.reduce(ends.memoryUsed.rawValue) { $0 + $1.memoryUsed.rawValue }
    }

    init(path: String, parts: Int, device: String, threads: Int, jobs: Int, rows: Int) throws {
        let file = try LlamaFile(path: path)
        let options = EngineOptions(threads: threads, device: device)
        ends = try ModelEnds(model: file, options: options)
        let count = file.parameters.blockCount
        engines = try (0..<parts).map { part in
            let first = count * part / parts
            let range = BlockRange(first: first + 1, count: count * (part + 1) / parts - first)
            return try GGMLEngine(
                manifest: try file.manifest(modelName: "benchmark", range: range), source: file,
                limits: EngineLimits(
                    range: range, width: file.parameters.embeddingWidth, unitCount: jobs * range.count,
                    sequenceLength: rows), options: options)
        }
    }

    /// Ends all jobs and opens `count` new ones.
    func open(_ count: Int) throws {
        for job in jobs { for engine in engines { engine.close(job) } }
        jobs = (0..<count).map { EngineJobID(nextJob + UInt64($0)) }
        nextJob += UInt64(count)
        for job in jobs {
            for engine in engines {
                let range = engine.limits.range
                try engine.open(job, firstBlock: range.first, blockCount: range.end - range.first)
            }
        }
    }

    /// One step over `tokens` of each job, from `position` on; the logits after the last token of each.
    func step(_ tokens: [[Int32]], position: Int) throws -> [[Float]] {
        let entering = try ends.embed(tokens.flatMap { $0 })
        var offset = 0
        var hidden = tokens.map { tokens in
            defer { offset += tokens.count * ends.width }
            return Array(entering[offset..<offset + tokens.count * ends.width])
        }
        for (index, engine) in engines.enumerated() {
            let isLast = index == engines.count - 1
            hidden = try engine.run(
                tokens.indices.map {
                    EngineStep(
                        job: jobs[$0], position: position, tokenCount: tokens[$0].count, hidden: hidden[$0],
                        lastRowOnly: isLast)
                })
        }
        let all = try ends.logits(hidden.flatMap { $0 })
        let size = ends.vocabularySize
        return tokens.indices.map { Array(all[$0 * size..<($0 + 1) * size]) }
    }
}
