import CGGML
import ChainModel

/// What must hold before ggml sees a manifest, which may have come over the wire: ggml ends the process on
/// shapes that do not fit, and sums of sizes must not overflow here.
extension GGMLEngine {
    /// Bounds on what a manifest and limits may claim; far beyond any model, near enough that products do
    /// not overflow.
    private static let largestExtent = 1 << 20
    private static let largestBlockCount = 4096

    static func check(_ manifest: BlockManifest, _ limits: EngineLimits) throws(EngineError) {
        let parameters = manifest.parameters
        guard manifest.range == limits.range, limits.width == parameters.embeddingWidth else {
            throw .modelFile("the manifest and the limits name different blocks or widths")
        }
        let extents = [
            parameters.embeddingWidth, parameters.headCount, parameters.keyValueHeadCount,
            parameters.headSize,
            parameters.feedForwardWidth, parameters.ropeDimensionCount,
        ]
        guard extents.allSatisfy({ (1...largestExtent).contains($0) }),
            (1...largestBlockCount).contains(parameters.blockCount),
            (1...Int(Int32.max)).contains(parameters.contextLength), parameters.headSize % 2 == 0,
            parameters.headCount % parameters.keyValueHeadCount == 0,
            parameters.ropeDimensionCount == parameters.headSize,
            [parameters.normEpsilon, parameters.ropeFrequencyBase, parameters.ropeFrequencyScale]
                .allSatisfy({ $0 > 0 && $0.isFinite })
        else { throw .unsupportedModel("the manifest's parameters do not describe a Llama model") }
        guard limits.range.first >= 1, (1...parameters.blockCount).contains(limits.range.count),
            limits.range.first <= parameters.blockCount - limits.range.count + 1
        else {
            throw .modelFile("the manifest's blocks are not among the model's \(parameters.blockCount)")
        }
        guard limits.unitCount >= 0, (1...largestExtent).contains(limits.stepTokens),
            (1...largestExtent).contains(limits.sequenceLength)
        else {
            throw .memory(
                "cache units, sequence length and step size must be positive, the latter two at most"
                    + " \(largestExtent)"
            )
        }
        let unit = EngineMemory.unitSize(parameters, sequenceLength: limits.sequenceLength).rawValue
        guard limits.unitCount <= Int.max / 2 / unit else {
            throw .memory("\(limits.unitCount) cache units of \(unit) bytes are more than any memory holds")
        }
        try checkTensors(manifest)
    }

    private static func checkTensors(_ manifest: BlockManifest) throws(EngineError) {
        var names: Set<String> = []
        for entry in manifest.tensors {
            let problem = LlamaFile.problem(
                name: entry.name, type: entry.type, dimensions: entry.dimensions, byteCount: entry.byteCount,
                manifest.parameters)
            if let problem { throw .unsupportedModel(problem) }
            guard names.insert(entry.name).inserted else {
                throw .modelFile("the manifest lists \(entry.name) twice")
            }
            if entry.name == LlamaFile.ropeFactors { continue }
            let block = entry.name.split(separator: ".").dropFirst().first.flatMap { Int($0) }
            guard let block, manifest.range.contains(block + 1) else {
                throw .modelFile("the manifest lists \(entry.name), which is of no hosted block")
            }
        }
    }
}
