import CGGML
import ChainModel

/// One job's part in a step's graph.
struct GraphJob {
    /// Index of its first block within the hosted range, from 0.
    var entry: Int
    /// Tokens of this step.
    var tokens: Int
    /// Position of the first of them.
    var position: Int
    /// The job's cache units, one for each of its blocks from `entry` on.
    var units: [Int]
    /// Only the hidden state of the last token leaves the range.
    var lastRowOnly: Bool
    /// Cache rows that attention reads: what is filled after this step, in whole granules, or more.
    var attendedRows: Int

    init(entry: Int, tokens: Int, position: Int, units: [Int], lastRowOnly: Bool = false) {
        self.entry = entry
        self.tokens = tokens
        self.position = position
        self.units = units
        self.lastRowOnly = lastRowOnly
        attendedRows = EngineMemory.rows(sequenceLength: position + tokens)
    }

    /// Tokens whose hidden states leave the range.
    var leavingTokens: Int { lastRowOnly ? 1 : tokens }

    /// Whether the graph made for `other` serves this job too: they differ only in what is filled in.
    func sharesGraph(with other: GraphJob) -> Bool {
        entry == other.entry && tokens == other.tokens && attendedRows == other.attendedRows
            && units == other.units && lastRowOnly == other.lastRowOnly
    }
}

/// The graph of one step over a hosted range: the operations of libllama's Llama graph, in its order, so
/// that results agree to the last bit, with attention done job by job ("ragged") over the units of the cache
/// arena, or by runs of jobs (`AttentionRun`).
///
/// Jobs are sorted by their first block, so those active at a block are a prefix; a job joins by
/// concatenation. Hidden states are `[width, tokens]`, tokens of a job side by side.
struct BlockGraph {
    let context: GGMLContext
    /// `ggml_cgraph`.
    let graph: OpaquePointer
    /// Entering hidden states of all jobs: `[width, T]`.
    let hidden: Tensor
    /// Positions, `[T]`, 32-bit integers.
    let positions: Tensor
    /// Cache row of each token for each block of the range: `[T, blocks]`, 64-bit integers.
    let rows: Tensor
    /// Causal masks of all jobs one after another, `[attendedRows, tokens]` each; 16-bit floats.
    let masks: Tensor
    /// What the graph was made for.
    private let jobs: [GraphJob]
    private let runs: [AttentionRun]
    /// Columns that leave the range, 32-bit integers; `nil` when all do.
    let leaving: Tensor?
    /// Leaving hidden states: `[width, leaving tokens]`.
    let output: Tensor

    /// - Parameters:
    ///   - jobs: sorted by `entry`.
    ///   - runs: all of them, in their order.
    init(
        jobs: [GraphJob], runs: [AttentionRun], blocks: [BlockWeights], ropeFactors: Tensor?,
        arena: CacheArena, parameters: LlamaParameters
    ) {
        let nodes = blocks.count * (48 + 12 * jobs.count) + 64
        let context = GGMLContext(tensors: nodes + 2 * jobs.count + 16, graphNodes: nodes)
        let total = jobs.reduce(0) { $0 + $1.tokens }
        guard let graph = ggml_new_graph_custom(context.pointer, nodes, false) else {
            preconditionFailure("a graph of \(nodes) nodes does not fit its context")
        }
        func input(_ type: ggml_type, _ dimensions: [Int]) -> Tensor {
            let tensor = context.tensor(type: type.rawValue, dimensions: dimensions)
            ggml_set_input(tensor)
            return tensor
        }
        let hidden = input(GGML_TYPE_F32, [parameters.embeddingWidth, total])
        positions = input(GGML_TYPE_I32, [total])
        rows = input(GGML_TYPE_I64, [total, blocks.count])
        let leavingTokens = jobs.reduce(0) { $0 + $1.leavingTokens }
        leaving = leavingTokens < total ? input(GGML_TYPE_I32, [leavingTokens]) : nil
        masks = input(GGML_TYPE_F16, [jobs.reduce(0) { $0 + $1.attendedRows * $1.tokens }])
        self.jobs = jobs
        self.runs = runs
        var builder = BlockGraphBuilder(
            context: context.pointer, graph: graph, parameters: parameters, arena: arena,
            ropeFactors: ropeFactors, jobs: jobs, runs: runs, positions: positions, rows: rows,
            masks: Self.parts(of: masks, jobs: jobs, runs: runs, context: context), leaving: leaving)
        output = builder.build(blocks: blocks, hidden: hidden)
        self.context = context
        self.graph = graph
        self.hidden = hidden
    }

    /// Whether this graph, filled anew, computes a step of `others`.
    func serves(_ others: [GraphJob], _ runs: [AttentionRun]) -> Bool {
        jobs.count == others.count && self.runs == runs
            && zip(jobs, others).allSatisfy { $0.sharesGraph(with: $1) }
    }

    /// The masks of each run: `[attendedRows, tokens, 1, jobs]`.
    private static func parts(
        of masks: Tensor, jobs: [GraphJob], runs: [AttentionRun], context: GGMLContext
    ) -> [Tensor] {
        var offset = 0
        return runs.map { run in
            let job = jobs[run.jobs.lowerBound]
            let rowBytes = job.attendedRows * MemoryLayout<UInt16>.size
            let jobBytes = rowBytes * job.tokens
            defer { offset += jobBytes * run.jobs.count }
            return ggml_view_4d(
                context.pointer, masks, Int64(job.attendedRows), Int64(job.tokens), 1, Int64(run.jobs.count),
                rowBytes, jobBytes, jobBytes, offset)
        }
    }
}

/// Adds the operations of blocks to a graph.
private struct BlockGraphBuilder {
    let context: OpaquePointer
    let graph: OpaquePointer
    let parameters: LlamaParameters
    let arena: CacheArena
    let ropeFactors: Tensor?
    let jobs: [GraphJob]
    let runs: [AttentionRun]
    let positions: Tensor
    let rows: Tensor
    let masks: [Tensor]
    let leaving: Tensor?

    private var width: Int64 { Int64(parameters.embeddingWidth) }
    private var headSize: Int64 { Int64(parameters.headSize) }

    mutating func build(blocks: [BlockWeights], hidden: Tensor) -> Tensor {
        var current: Tensor?
        var activeJobs = 0
        var activeTokens = 0
        for (index, weights) in blocks.enumerated() {
            let before = activeTokens
            while activeJobs < jobs.count, jobs[activeJobs].entry <= index {
                activeTokens += jobs[activeJobs].tokens
                activeJobs += 1
            }
            if activeTokens > before {
                let joining = columns(of: hidden, from: before, count: activeTokens - before)
                current = current.map { ggml_concat(context, $0, joining, 1) } ?? joining
            }
            if let entering = current {
                current = block(
                    weights, index: index, entering, jobs: activeJobs, tokens: activeTokens,
                    leaving: index == blocks.count - 1 ? leaving : nil)
            }
        }
        guard let output = current else { preconditionFailure("no job enters the range") }
        ggml_set_output(output)
        ggml_build_forward_expand(graph, output)
        return output
    }

    /// A block over the first `jobs` jobs: `[width, tokens]` to the same shape, or to the columns `leaving`
    /// alone, which part from the others after the attention.
    private func block(
        _ weights: BlockWeights, index: Int, _ entering: Tensor, jobs count: Int, tokens: Int,
        leaving: Tensor?
    ) -> Tensor {
        let normed = norm(entering, weights.attentionNorm)
        let attended = attention(weights, index: index, normed, jobs: count, tokens: tokens)
        var projected = plus(ggml_mul_mat(context, weights.attentionOutput, attended), weights.outputBias)
        var residual = entering
        if let leaving {
            projected = ggml_get_rows(context, projected, leaving)
            residual = ggml_get_rows(context, residual, leaving)
        }
        let middle = ggml_add(context, projected, residual)!
        let inner = norm(middle, weights.feedForwardNorm)
        let up = plus(ggml_mul_mat(context, weights.up, inner), weights.upBias)
        let gate = plus(ggml_mul_mat(context, weights.gate, inner), weights.gateBias)
        let activated = ggml_swiglu_split(context, gate, up)
        let down = plus(ggml_mul_mat(context, weights.down, activated), weights.downBias)
        return ggml_add(context, down, middle)
    }

    private func norm(_ tensor: Tensor, _ weight: Tensor) -> Tensor {
        ggml_mul(context, ggml_rms_norm(context, tensor, parameters.normEpsilon), weight)
    }

    private func plus(_ tensor: Tensor?, _ bias: Tensor?) -> Tensor {
        guard let bias else { return tensor! }
        return ggml_add(context, tensor, bias)
    }

    private func rotated(_ tensor: Tensor, tokens: Int) -> Tensor {
        let positions = ggml_view_1d(context, positions, Int64(tokens), 0)
        return ggml_rope_ext(
            context, tensor, positions, ropeFactors, Int32(parameters.ropeDimensionCount), 0,
            Int32(parameters.contextLength), parameters.ropeFrequencyBase, parameters.ropeFrequencyScale,
            0, 1, 32, 1)
    }

    /// Attention of the first `count` jobs over their own rows: `[width, tokens]` to `[heads·headSize,
    /// tokens]`.
    private func attention(
        _ weights: BlockWeights, index: Int, _ normed: Tensor, jobs count: Int, tokens: Int
    ) -> Tensor {
        let queryHeads = Int64(parameters.headCount)
        let keyHeads = Int64(parameters.keyValueHeadCount)
        let query = heads(
            plus(ggml_mul_mat(context, weights.query, normed), weights.queryBias), queryHeads, tokens)
        let key = heads(plus(ggml_mul_mat(context, weights.key, normed), weights.keyBias), keyHeads, tokens)
        let value = plus(ggml_mul_mat(context, weights.value, normed), weights.valueBias)
        let turnedQuery = rotated(query, tokens: tokens)
        let turnedKey = rotated(key, tokens: tokens)
        // The queries are put before the writes to the cache, as in libllama; the writes before the
        // attention.
        ggml_build_forward_expand(graph, turnedQuery)
        let flatKey = ggml_reshape_2d(context, turnedKey, keyHeads * headSize, Int64(tokens))
        let target = ggml_view_1d(context, rows, Int64(tokens), index * Int(rows.pointee.nb.1))
        ggml_build_forward_expand(graph, ggml_set_rows(context, arena.keys, flatKey, target))
        ggml_build_forward_expand(graph, ggml_set_rows(context, arena.values, value, target))
        var parts: [Tensor] = []
        var first = 0
        // Jobs of a run enter together, so the active jobs are whole runs.
        for (number, run) in runs.enumerated() where run.jobs.upperBound <= count {
            parts.append(attention(of: run, mask: masks[number], index: index, turnedQuery, from: first))
            first += run.jobs.count * jobs[run.jobs.lowerBound].tokens
        }
        return joined(parts[...])
    }

    private func attention(
        of run: AttentionRun, mask: Tensor, index: Int, _ query: Tensor, from first: Int
    ) -> Tensor {
        let job = jobs[run.jobs.lowerBound]
        let columnBytes = Int(query.pointee.nb.2)
        let own = ggml_view_4d(
            context, query, headSize, Int64(parameters.headCount), Int64(job.tokens), Int64(run.jobs.count),
            Int(query.pointee.nb.1), columnBytes, job.tokens * columnBytes, first * columnBytes)
        let unit = job.units[index - job.entry]
        let result = ggml_flash_attn_ext(
            context, ggml_permute(context, own, 0, 2, 1, 3),
            cached(arena.keys, unit: unit, rows: job.attendedRows, run),
            cached(arena.values, unit: unit, rows: job.attendedRows, run), mask,
            1 / Float(parameters.headSize).squareRoot(), 0, 0)!
        _ = ggml_prec_set_acc(result, GGML_PREC_F32)
        return ggml_reshape_2d(
            context, result, headSize * Int64(parameters.headCount), Int64(job.tokens * run.jobs.count))
    }

    /// The rows of a run's units, from its first job's `unit` on, as `[headSize, rows, keyHeads, jobs]`.
    private func cached(_ arena: Tensor, unit: Int, rows count: Int, _ run: AttentionRun) -> Tensor {
        let rowBytes = Int(arena.pointee.nb.1)
        let headBytes = 2 * parameters.headSize
        let unitBytes = self.arena.rows * rowBytes
        let view = ggml_view_4d(
            context, arena, headSize, Int64(parameters.keyValueHeadCount), Int64(count),
            Int64(run.jobs.count),
            headBytes, rowBytes, run.stride * unitBytes, unit * unitBytes)
        return ggml_permute(context, view, 0, 2, 1, 3)
    }

    private func heads(_ tensor: Tensor, _ count: Int64, _ tokens: Int) -> Tensor {
        ggml_reshape_3d(context, tensor, headSize, count, Int64(tokens))
    }

    private func columns(of tensor: Tensor, from first: Int, count: Int) -> Tensor {
        let stride = Int(tensor.pointee.nb.1)
        return ggml_view_2d(context, tensor, tensor.pointee.ne.0, Int64(count), stride, first * stride)
    }

    /// Concatenates along tokens, pairwise, so that each column is copied O(log jobs) times.
    private func joined(_ parts: ArraySlice<Tensor>) -> Tensor {
        guard parts.count > 1 else { return parts[parts.startIndex] }
        let middle = parts.startIndex + parts.count / 2
        return ggml_concat(context, joined(parts[..<middle]), joined(parts[middle...]), 1)
    }
}
