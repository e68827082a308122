import CGGML
import ChainModel

/// Runs a range of Llama blocks on a ggml device.
///
/// What it keeps in memory, all allocated when it is made: the parameters of the hosted blocks, one arena of
/// cache units, and the buffers of the largest step; together never more than `EngineMemory` says.
public final class GGMLEngine: BlockEngine {
    public let limits: EngineLimits
    public var isEmulated: Bool { false }
    public var unitsUsed: Int { arena.usedCount }
    public var openJobs: Int { jobs.count }

    /// Bytes held on the device: parameters, cache and compute buffers, the backend's scratch at its largest
    /// included.
    public var memoryUsed: ByteCount {
        ByteCount(
            store.byteCount + arena.byteCount + ggml_gallocr_get_buffer_size(allocator, 0) + scratchSize)
    }
    /// Name of the device, for instance `CPU`.
    public var deviceName: String { device.name }

    private struct OpenJob {
        var entry: Int
        var units: [Int]
        var length: Int
    }

    private let parameters: LlamaParameters
    private let device: GGMLDevice
    private let store: TensorStore
    private let blocks: [BlockWeights]
    private let ropeFactors: Tensor?
    private let arena: CacheArena
    /// `ggml_gallocr_t`: lays a step's tensors out in one buffer.
    private let allocator: OpaquePointer
    /// What the allocator's buffer may grow to, bytes; `nil` when no compute size was given.
    private let bufferLimit: Int?
    /// The most that the backend allocates by itself, bytes.
    private let scratchSize: Int
    /// Whether attention is computed by runs of jobs instead of job by job.
    private let stacksAttention: Bool
    private var jobs: [EngineJobID: OpenJob] = [:]
    /// The graph of the last step, laid out in the allocator's buffer. Steps of one token each, by the same jobs, are
    /// alike for 256 of them; a device that records graphs (CUDA) then replays it instead of launching its
    /// operations one by one.
    private var lastGraph: BlockGraph?

    /// Checks `manifest` against the graph, loads its tensors and allocates everything a step needs.
    /// - Throws: `EngineError.modelFile` or `.unsupportedModel` for tensors that do not fit, `.memory` when
    ///   the device has no room or a step would need more than `options.computeSize` (if that is not zero),
    ///   `.device`.
    public init(
        manifest: BlockManifest, source: any TensorSource, limits: EngineLimits, options: EngineOptions
    ) throws(EngineError) {
        try Self.check(manifest, limits)
        self.limits = limits
        parameters = manifest.parameters
        scratchSize = EngineMemory.scratchSize(
            parameters, stepTokens: limits.stepTokens, threads: options.threads,
            largeBlocks: manifest.tensors.contains { LlamaFile.hasLargeBlocks($0.type) })
        bufferLimit =
            options.computeSize > .zero ? max(0, options.computeSize.rawValue - scratchSize) : nil
        device = try GGMLDevice(wanted: options.device, threads: options.threads)
        stacksAttention = options.stacksAttention ?? !device.isProcessor
        let store = try TensorStore(
            entries: manifest.tensors, source: source, device: device, plain: [LlamaFile.ropeFactors])
        self.store = store
        var blocks: [BlockWeights] = []
        for block in limits.range.first..<limits.range.end {
            blocks.append(try BlockWeights(block: block, in: store))
        }
        self.blocks = blocks
        ropeFactors = store[LlamaFile.ropeFactors]
        arena = try CacheArena(
            unitCount: limits.unitCount, rows: EngineMemory.rows(sequenceLength: limits.sequenceLength),
            width: parameters.keyValueHeadCount * parameters.headSize, device: device)
        guard let type = device.bufferType, let allocator = ggml_gallocr_new(type) else {
            throw .memory("ggml could not make an allocator")
        }
        self.allocator = allocator
        try reserve()
    }

    deinit { ggml_gallocr_free(allocator) }

    /// Lays out the largest step of one job once, so that no step of one job allocates.
    private func reserve() throws(EngineError) {
        let depth = min(limits.unitCount, blocks.count)
        guard depth > 0 else { return }
        let tokens = min(limits.stepTokens, limits.sequenceLength)
        let widest = GraphJob(
            entry: blocks.count - depth, tokens: tokens, position: limits.sequenceLength - tokens,
            units: Array(0..<depth))
        let step = graph(for: [widest], AttentionRun.single([widest]))
        for index in 0..<ggml_graph_n_nodes(step.graph) {
            guard let node = ggml_graph_node(step.graph, index) else { continue }
            guard ggml_backend_supports_op(device.backend, node) else {
                let operation = String(cString: ggml_op_name(node.pointee.op))
                throw .device("device \(device.name) cannot do \(operation) for this model; use --device cpu")
            }
        }
        let needed = bufferSize(of: step)
        if let bufferLimit, needed > bufferLimit {
            throw .memory(
                "a step needs \(needed + scratchSize) bytes of compute buffers, more than the"
                    + " \(bufferLimit + scratchSize) set aside; give model.compute_size in the cluster file")
        }
        guard ggml_gallocr_reserve(allocator, step.graph) else {
            throw .memory("the device has no room for \(needed) bytes of compute buffers")
        }
    }

    /// Bytes that the step's tensors take when laid out; nothing is allocated.
    private func bufferSize(of step: BlockGraph) -> Int {
        guard let type = device.bufferType, let planner = ggml_gallocr_new(type) else { return 0 }
        defer { ggml_gallocr_free(planner) }
        var needed = 0
        ggml_gallocr_reserve_n_size(planner, step.graph, nil, nil, &needed)
        return needed
    }

    /// Whether the jobs' step keeps within the compute buffers.
    private func fits(_ step: BlockGraph, _ jobs: [GraphJob]) -> Bool {
        guard let bufferLimit else { return true }
        let tokens = jobs.reduce(0) { $0 + $1.tokens }
        // Most steps are far from the limit: the layout is planned only for those that may pass it.
        let estimate = EngineMemory.bufferSize(
            parameters, tokens: tokens, maskedRows: jobs.reduce(0) { $0 + $1.tokens * $1.attendedRows },
            blockCount: blocks.count)
        return 2 * estimate <= bufferLimit || bufferSize(of: step) <= bufferLimit
    }

    private func graph(for jobs: [GraphJob], _ runs: [AttentionRun]) -> BlockGraph {
        BlockGraph(
            jobs: jobs, runs: runs, blocks: blocks, ropeFactors: ropeFactors, arena: arena,
            parameters: parameters)
    }

    // MARK: - Jobs

    public func open(_ job: EngineJobID, firstBlock: Int, blockCount: Int) throws(EngineError) {
        guard limits.range.contains(firstBlock), blockCount == limits.range.end - firstBlock else {
            throw .blocksNotHosted(firstBlock: firstBlock, blockCount: blockCount, range: limits.range)
        }
        guard jobs[job] == nil else { throw .jobAlreadyOpen(job) }
        guard arena.freeCount >= blockCount else {
            throw .cacheFull(needed: blockCount, free: arena.freeCount)
        }
        jobs[job] = OpenJob(entry: firstBlock - limits.range.first, units: arena.take(blockCount), length: 0)
    }

    public func close(_ job: EngineJobID) {
        guard let closed = jobs.removeValue(forKey: job) else { return }
        arena.giveBack(closed.units)
    }

    // MARK: - Steps

    public func run(_ steps: [EngineStep]) throws(EngineError) -> [[Float]] {
        guard !steps.isEmpty else { return [] }
        let entries = try validated(steps)
        let order = order(of: steps, entries)
        let sorted = order.map { index in
            GraphJob(
                entry: entries[index].entry, tokens: steps[index].tokenCount, position: steps[index].position,
                units: entries[index].units, lastRowOnly: steps[index].lastRowOnly)
        }
        var results = [[Float]](repeating: [], count: steps.count)
        var waiting = [0..<order.count]
        while let part = waiting.popLast() {
            var members = Array(sorted[part])
            guard let step = try laidOut(&members) else {
                // A batch that would take more memory than was set aside is computed in two.
                let middle = part.lowerBound + part.count / 2
                waiting.append(middle..<part.upperBound)
                waiting.append(part.lowerBound..<middle)
                continue
            }
            let leaving = try compute(step, members, order[part].flatMap { steps[$0].hidden })
            var offset = 0
            for index in order[part] {
                let count = (steps[index].lastRowOnly ? 1 : steps[index].tokenCount) * limits.width
                results[index] = Array(leaving[offset..<offset + count])
                offset += count
            }
        }
        for step in steps { jobs[step.job]?.length += step.tokenCount }
        return results
    }

    /// Sorted by first block, then as given: total, so the same steps always make the same graph. Where attention is
    /// stacked, jobs of a block are in the order of their units.
    private func order(of steps: [EngineStep], _ entries: [OpenJob]) -> [Int] {
        steps.indices.sorted {
            let (left, right) = (entries[$0], entries[$1])
            guard stacksAttention else { return (left.entry, $0) < (right.entry, $1) }
            return (left.entry, steps[$0].tokenCount, left.units.first ?? 0, $0)
                < (right.entry, steps[$1].tokenCount, right.units.first ?? 0, $1)
        }
    }

    /// The graph of a step with its tensors in place; `nil` for a batch that would take more memory than was
    /// set aside.
    private func laidOut(_ jobs: inout [GraphJob]) throws(EngineError) -> BlockGraph? {
        let runs = stacksAttention ? AttentionRun.grouped(&jobs) : AttentionRun.single(jobs)
        if let lastGraph, lastGraph.serves(jobs, runs) { return lastGraph }
        let step = graph(for: jobs, runs)
        guard jobs.count == 1 || fits(step, jobs) else { return nil }
        lastGraph = nil
        guard ggml_gallocr_alloc_graph(allocator, step.graph) else {
            throw .memory("the device has no room for the compute buffers of this step")
        }
        lastGraph = step
        return step
    }

    /// - Parameter hidden: entering hidden states of all jobs, side by side.
    /// - Returns: the leaving ones.
    private func compute(
        _ step: BlockGraph, _ jobs: [GraphJob], _ hidden: [Float]
    ) throws(EngineError) -> [Float] {
        fill(step, jobs, hidden)
        let status = ggml_backend_graph_compute(device.backend, step.graph)
        guard status == GGML_STATUS_SUCCESS else {
            throw .device("device \(device.name) failed (\(status.rawValue))")
        }
        let count = jobs.reduce(0) { $0 + $1.leavingTokens } * limits.width
        return [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            ggml_backend_tensor_get(step.output, buffer.baseAddress, 0, count * MemoryLayout<Float>.size)
            filled = count
        }
    }

    private func validated(_ steps: [EngineStep]) throws(EngineError) -> [OpenJob] {
        var entries: [OpenJob] = []
        var seen: Set<EngineJobID> = []
        var total = 0
        for step in steps {
            let (sum, overflow) = total.addingReportingOverflow(max(0, step.tokenCount))
            total = overflow ? Int.max : sum
        }
        guard total <= limits.stepTokens else { throw .stepTooLarge(tokens: total, limit: limits.stepTokens) }
        for step in steps {
            guard let job = jobs[step.job] else { throw .jobUnknown(step.job) }
            guard seen.insert(step.job).inserted else { throw .jobAlreadyOpen(step.job) }
            guard step.position == job.length else {
                throw .wrongPosition(step.job, expected: job.length, got: step.position)
            }
            let expected = max(1, step.tokenCount) * limits.width
            guard step.tokenCount > 0, step.hidden.count == expected else {
                throw .wrongShape(step.job, expected: expected, got: step.hidden.count)
            }
            guard job.length + step.tokenCount <= limits.sequenceLength else {
                throw .sequenceTooLong(step.job, limit: limits.sequenceLength)
            }
            guard step.hidden.allFinite else { throw .notFinite(step.job) }
            entries.append(job)
        }
        return entries
    }

    /// Copies hidden states, positions, cache rows and masks to the device.
    private func fill(_ step: BlockGraph, _ jobs: [GraphJob], _ hidden: [Float]) {
        let total = jobs.reduce(0) { $0 + $1.tokens }
        ggml_backend_tensor_set(step.hidden, hidden, 0, hidden.count * MemoryLayout<Float>.size)
        let rowCount = arena.rows
        var positions: [Int32] = []
        var leaving: [Int32] = []
        // Rows of blocks before a job's first are never read: the views take the active prefix only.
        var rows = [Int64](repeating: 0, count: total * blocks.count)
        for job in jobs {
            let column = positions.count
            positions.append(contentsOf: Int32(job.position)..<Int32(job.position + job.tokens))
            let end = Int32(positions.count)
            leaving.append(contentsOf: end - Int32(job.leavingTokens)..<end)
            for (depth, unit) in job.units.enumerated() {
                let start = (job.entry + depth) * total + column
                let first = unit * rowCount + job.position
                for token in 0..<job.tokens { rows[start + token] = Int64(first + token) }
            }
        }
        ggml_backend_tensor_set(step.positions, positions, 0, total * MemoryLayout<Int32>.size)
        ggml_backend_tensor_set(step.rows, rows, 0, rows.count * MemoryLayout<Int64>.size)
        if let columns = step.leaving {
            ggml_backend_tensor_set(columns, leaving, 0, leaving.count * MemoryLayout<Int32>.size)
        }
        fillMasks(step, jobs)
    }

    /// Token at position `p` sees rows `0…p`: 0 there, −∞ elsewhere.
    private func fillMasks(_ step: BlockGraph, _ jobs: [GraphJob]) {
        let count = jobs.reduce(0) { $0 + $1.attendedRows * $1.tokens }
        let bits = [UInt16](unsafeUninitializedCapacity: count) { buffer, filled in
            guard var row = buffer.baseAddress else { return }
            for job in jobs {
                let width = job.attendedRows
                for token in 0..<job.tokens {
                    let seen = job.position + token + 1
                    row.initialize(repeating: 0, count: seen)
                    (row + seen).initialize(repeating: Self.hiddenBits, count: width - seen)
                    row += width
                }
            }
            filled = count
        }
        ggml_backend_tensor_set(step.masks, bits, 0, bits.count * MemoryLayout<UInt16>.size)
    }

    /// −∞ as a 16-bit float.
    private static let hiddenBits: UInt16 = 0xFC00
}
