import CZlib
import ChainModel
import Foundation

/// The numbers of a Llama-architecture model that its graph needs (GGUF keys in brackets).
public struct LlamaParameters: Codable, Hashable, Sendable {
    /// `general.architecture`, for instance `llama`.
    public var architecture: String
    /// Blocks of the whole model: `L` (`block_count`).
    public var blockCount: Int
    /// Values of a hidden state (`embedding_length`).
    public var embeddingWidth: Int
    /// Query heads (`attention.head_count`).
    public var headCount: Int
    /// Key and value heads; fewer than `headCount` with grouped-query attention (`attention.head_count_kv`).
    public var keyValueHeadCount: Int
    /// Values of one head (`attention.key_length`, else `embeddingWidth/headCount`).
    public var headSize: Int
    /// Values of the gate and up projections (`feed_forward_length`).
    public var feedForwardWidth: Int
    /// Epsilon of the RMS norms (`attention.layer_norm_rms_epsilon`).
    public var normEpsilon: Float
    /// Rotated values of each head (`rope.dimension_count`).
    public var ropeDimensionCount: Int
    /// Base of the rotary frequencies (`rope.freq_base`).
    public var ropeFrequencyBase: Float
    /// Scale of the rotary positions: 1, or the inverse of a linear scaling factor (`rope.scaling.factor`).
    public var ropeFrequencyScale: Float
    /// Tokens the model was trained for (`context_length`).
    public var contextLength: Int
    /// Tokens of the vocabulary.
    public var vocabularySize: Int

    public init(
        architecture: String, blockCount: Int, embeddingWidth: Int, headCount: Int, keyValueHeadCount: Int,
        headSize: Int, feedForwardWidth: Int, normEpsilon: Float, ropeDimensionCount: Int,
        ropeFrequencyBase: Float, ropeFrequencyScale: Float, contextLength: Int, vocabularySize: Int
    ) {
        self.architecture = architecture
        self.blockCount = blockCount
        self.embeddingWidth = embeddingWidth
        self.headCount = headCount
        self.keyValueHeadCount = keyValueHeadCount
        self.headSize = headSize
        self.feedForwardWidth = feedForwardWidth
        self.normEpsilon = normEpsilon
        self.ropeDimensionCount = ropeDimensionCount
        self.ropeFrequencyBase = ropeFrequencyBase
        self.ropeFrequencyScale = ropeFrequencyScale
        self.contextLength = contextLength
        self.vocabularySize = vocabularySize
    }
}

/// One tensor of a hosted range: what it is called, its shape, and the checksum of its bytes.
public struct TensorEntry: Codable, Hashable, Sendable {
    /// The GGUF name, for instance `blk.3.attn_q.weight`.
    public var name: String
    /// The `ggml_type` of its values.
    public var type: UInt32
    /// Values along each dimension, ggml's order (fastest first); one to four of them.
    public var dimensions: [Int]
    /// Bytes of the tensor's data.
    public var byteCount: Int
    /// CRC-32 (zlib) of the tensor's data.
    public var crc32: UInt32

    public init(name: String, type: UInt32, dimensions: [Int], byteCount: Int, crc32: UInt32) {
        self.name = name
        self.type = type
        self.dimensions = dimensions
        self.byteCount = byteCount
        self.crc32 = crc32
    }
}

/// What a block server needs to know to host a range of blocks: the model's numbers and every tensor of the
/// range.
///
/// A range's data, wherever it is kept or sent as one run of bytes, is the concatenation of its tensors in
/// the order of `tensors`, without padding.
public struct BlockManifest: Codable, Hashable, Sendable {
    /// The name clients ask for.
    public var modelName: String
    public var parameters: LlamaParameters
    /// First hosted block, 1-based: `a_j`. (GGUF names count blocks from 0: `blk.{firstBlock − 1}.…`.)
    public var firstBlock: Int
    /// Hosted blocks: `m_j`.
    public var blockCount: Int
    public var tensors: [TensorEntry]
    /// Bytes of one cache unit that an emulated engine accounts for: `s_c` as its plan has it. Engines that compute
    /// derive theirs from `parameters` and pay no heed to this.
    public var emulatedUnitSize: Int?

    public init(modelName: String, parameters: LlamaParameters, range: BlockRange, tensors: [TensorEntry]) {
        self.modelName = modelName
        self.parameters = parameters
        self.firstBlock = range.first
        self.blockCount = range.count
        self.tensors = tensors
    }

    public var range: BlockRange { BlockRange(first: firstBlock, count: blockCount) }

    /// Digest of the manifest as a load carries it, the tensors' own checksums included: FNV-1a, 64 bits. Equal for a
    /// server and an orchestrator that mean the same blocks with the same contents. O(tensors).
    public var checksum: UInt64 {
        // What could not be written was never sent, so nothing is taken for it.
        guard let bytes = try? encoded() else { return 0 }
        return bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
    }

    /// The range ends with the model's last block. Steps then return the state of their last token alone: nothing else
    /// is of use to the output head, and libllama computes its last feed-forward network for that token only.
    public var hostsLastBlock: Bool { range.end == parameters.blockCount + 1 }

    /// Bytes of all tensors together.
    /// - Precondition: the manifest is valid (`validate`), so that the sum does not overflow.
    public var totalBytes: Int { tensors.reduce(0) { $0 + $1.byteCount } }

    /// Sixteen hexadecimal digits that name this range of this model: two CRC-32s, one over the parameters,
    /// names, types and shapes, one over the tensors' checksums. Guards against mix-ups, not against malice.
    public var fingerprint: String {
        var description = "\(modelName)|\(parameters.canonicalText)|\(firstBlock)|\(blockCount)"
        var checksums = ""
        for tensor in tensors {
            description += "|\(tensor.name),\(tensor.type),\(tensor.dimensions),\(tensor.byteCount)"
            checksums += "\(tensor.crc32),"
        }
        return hexadecimal(CRC32.of(description.utf8)) + hexadecimal(CRC32.of(checksums.utf8))
    }

    private func hexadecimal(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}

extension LlamaParameters {
    /// Every field, floats by their bits: the same on every machine.
    fileprivate var canonicalText: String {
        "\(architecture),\(blockCount),\(embeddingWidth),\(headCount),\(keyValueHeadCount),\(headSize)"
            + ",\(feedForwardWidth),\(normEpsilon.bitPattern),\(ropeDimensionCount)"
            + ",\(ropeFrequencyBase.bitPattern),\(ropeFrequencyScale.bitPattern)"
            + ",\(contextLength),\(vocabularySize)"
    }
}

/// Bytes of tensors, from a file of a whole model or from the store of a received range.
public protocol TensorSource: Sendable {
    /// Fills `destination` (exactly `entry.byteCount` bytes) with the tensor's data. Does not check
    /// `entry.crc32`.
    /// - Throws: `EngineError.modelFile` when the tensor is not there or cannot be read.
    func read(_ entry: TensorEntry, into destination: UnsafeMutableRawBufferPointer) throws(EngineError)
}

/// A model's file on a block server's own disk, from which any range can be read.
public protocol LocalModel: TensorSource {
    /// The tensor's entry, checksum of its bytes on disk included; `nil` when the file has no tensor of that
    /// name.
    /// - Throws: `EngineError.modelFile` when its bytes cannot be read.
    /// - Complexity: reads the tensor once, unless its checksum is known already.
    func entry(named name: String) throws(EngineError) -> TensorEntry?
}

/// What an engine is told beyond its limits: how to run, not what.
public struct EngineOptions: Hashable, Sendable {
    /// Compute threads.
    public var threads: Int
    /// Memory set aside for compute buffers, which the engine must not exceed; bytes.
    public var computeSize: ByteCount
    /// A ggml device's name, `cpu`, or `auto` for the best GPU, else the CPU.
    public var device: String
    /// Whether jobs of a step are stacked for attention (`AttentionRun`); `nil`: on GPUs only.
    public var stacksAttention: Bool?

    public init(threads: Int = 1, computeSize: ByteCount = .zero, device: String = "auto") {
        self.threads = threads
        self.computeSize = computeSize
        self.device = device
    }
}

/// CRC-32 as zlib computes it, over any number of pieces.
public struct CRC32: Hashable, Sendable {
    public private(set) var value: UInt32 = 0

    public init() {}

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.bindMemory(to: UInt8.self).baseAddress else { return }
        value = UInt32(truncatingIfNeeded: crc32_z(uLong(value), base, bytes.count))
    }

    public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var checksum = CRC32()
        checksum.update(bytes)
        return checksum.value
    }

    public static func of(_ bytes: some Sequence<UInt8>) -> UInt32 {
        var checksum = CRC32()
        Array(bytes).withUnsafeBytes { checksum.update($0) }
        return checksum.value
    }
}

extension BlockManifest {
    /// Most tensors of a range.
    public static let maximumTensorCount = 1 << 14
    /// Most values along a dimension, heads, blocks and the like: products of two stay far from overflow.
    public static let maximumDimension = 1 << 28
    /// Most bytes of a range.
    public static let maximumTotalBytes = 1 << 50

    /// The manifest as JSON, as a load carries it: the same bytes whoever writes them.
    public func encoded() throws(EngineError) -> Data {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys
            return try encoder.encode(self)
        } catch {
            throw .modelFile("the manifest of \(modelName) cannot be written: \(error)")
        }
    }

    /// Reads a manifest that came from elsewhere and checks it.
    /// - Throws: `EngineError.unsupportedModel` that says what is wrong with it.
    public init(json: Data) throws(EngineError) {
        do {
            self = try JSONDecoder().decode(BlockManifest.self, from: json)
        } catch {
            throw .unsupportedModel("the manifest cannot be read: \(error)")
        }
        try validate()
    }

    /// Checks that every number is within reason, so that sizes can be computed without overflow. Whether
    /// the tensors are those of the architecture is for the engine to say.
    public func validate() throws(EngineError) {
        let numbers = [
            ("block count of the model", parameters.blockCount),
            ("embedding width", parameters.embeddingWidth),
            ("head count", parameters.headCount), ("key and value head count", parameters.keyValueHeadCount),
            ("head size", parameters.headSize), ("feed-forward width", parameters.feedForwardWidth),
            ("context length", parameters.contextLength), ("vocabulary size", parameters.vocabularySize),
            ("first block", firstBlock), ("block count", blockCount),
        ]
        for (name, value) in numbers where value < 1 || value > Self.maximumDimension {
            throw .unsupportedModel("the manifest's \(name) is \(value)")
        }
        guard parameters.headCount * parameters.headSize <= Self.maximumDimension,
            parameters.headCount.isMultiple(of: parameters.keyValueHeadCount)
        else {
            throw .unsupportedModel(
                "the manifest's \(parameters.headCount) heads of \(parameters.headSize) values do not share"
                    + " \(parameters.keyValueHeadCount) key and value heads")
        }
        guard range.end - 1 <= parameters.blockCount else {
            throw .unsupportedModel(
                "the manifest's blocks \(firstBlock)–\(range.end - 1) exceed the model's"
                    + " \(parameters.blockCount)"
            )
        }
        guard tensors.count <= Self.maximumTensorCount else {
            throw .unsupportedModel("the manifest has \(tensors.count) tensors")
        }
        var names: Set<String> = []
        var total = 0
        for tensor in tensors {
            guard names.insert(tensor.name).inserted else {
                throw .unsupportedModel("the manifest names the tensor \(tensor.name) twice")
            }
            guard (1...4).contains(tensor.dimensions.count),
                tensor.dimensions.allSatisfy({ 1 <= $0 && $0 <= Self.maximumDimension }),
                tensor.byteCount > 0, tensor.byteCount <= Self.maximumTotalBytes
            else {
                throw .unsupportedModel(
                    "the manifest's tensor \(tensor.name) has an impossible shape or size")
            }
            total += tensor.byteCount
            guard total <= Self.maximumTotalBytes else {
                throw .unsupportedModel(
                    "the manifest's tensors have more than \(Self.maximumTotalBytes) bytes")
            }
        }
    }
}

extension LlamaParameters {
    /// Rows that attention kernels work in: a unit's reserved rows are rounded up to a multiple.
    public static let cacheRowMultiple = 256

    /// Memory of one cache unit, keys and values of one block for one job in F16: `s_c`, bytes (section 2,
    /// footnote 2, with the rows rounded up to 256).
    /// - Precondition: the parameters are valid (`BlockManifest.validate`) and the length is below 2³¹.
    public func cacheUnitSize(sequenceLength: Int) -> ByteCount {
        let multiple = Self.cacheRowMultiple
        let rows = (sequenceLength + multiple - 1) / multiple * multiple
        return ByteCount(2 * keyValueHeadCount * headSize * 2) * rows
    }
}
