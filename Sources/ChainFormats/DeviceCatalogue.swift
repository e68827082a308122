import ChainModel

/// A kind of accelerator: what the time model needs of it (footnote 2 of the paper).
public struct Device: Hashable, Sendable {
    /// As written in a cluster file.
    public var name: String
    /// Memory for blocks and caches, bytes; `nil` where the same device comes with several.
    public var memory: ByteCount?
    /// Operations per second in prefill: `f`, FLOP/s. The dense 16-bit peak with 32-bit sums where the source gives it.
    public var operationsPerSecond: Double
    /// Memory bandwidth: `b`, bytes/s.
    public var bytesPerSecond: Double
    /// Where the figures come from.
    public var source: String

    /// Mean computation time of a job for one block, seconds: `τp = t_o + (F/f)·l_in + (s_m/b)·(l_out − 1)`.
    /// - Parameters:
    ///   - blockOperations: `F`, FLOP of one block for one token.
    ///   - blockSize: `s_m`, read once for every decoded token.
    ///   - inputTokens: `l_in`.
    ///   - outputTokens: `l_out`, of which the first comes with the prompt.
    public func blockTime(
        blockOperations: Double, blockSize: ByteCount, inputTokens: Double, outputTokens: Double
    ) -> Double {
        let prefill = blockOperations / operationsPerSecond * inputTokens
        let decode = Double(blockSize.rawValue) / bytesPerSecond * max(0, outputTokens - 1)
        return DeviceCatalogue.blockOverheadSeconds + prefill + decode
    }
}

/// Devices that a cluster file can name, and the constants of the time model.
public enum DeviceCatalogue {
    /// Overhead of one block for a job: `t_o`, about a millisecond.
    public static let blockOverheadSeconds = 0.001
    /// Added once to the communication time of a job: `o_in`, seconds.
    public static let inputOverheadSeconds = 0.050
    /// Bytes of one number of a hidden state on its way.
    public static let hiddenValueBytes = 2.0

    /// Only devices whose figures can be traced belong here. They are peaks: a measured profile says what is sustained.
    public static let devices: [Device] = [paperSlices, nvidia, slices, amd, apple].flatMap { $0 }

    public static func device(named name: String) -> Device? { positions[name].map { devices[$0] } }

    private static let positions = Dictionary(
        devices.enumerated().map { ($0.element.name, $0.offset) }, uniquingKeysWith: { first, _ in first })

    /// Mean communication time of a job at a server, seconds: every token makes one round trip, the prompt an overhead
    /// besides, and hidden states of all tokens go there and come back.
    ///
    ///     τc = o_in + RTT·l_out + 2·d·2 bytes·(l_in + l_out − 1)/bandwidth
    ///
    /// - Parameters:
    ///   - hiddenSize: `d`; needed with a bandwidth only.
    ///   - bandwidth: bytes/s; `nil` leaves the last term out, as the paper does.
    public static func communicationTime(
        roundTripTime: Double, outputTokens: Double, inputTokens: Double = 0, hiddenSize: Int = 0,
        bandwidth: Double? = nil
    ) -> Double {
        let steps = max(1, outputTokens)
        let bytes = 2 * Double(hiddenSize) * hiddenValueBytes * (inputTokens + steps - 1)
        return inputOverheadSeconds + roundTripTime * steps + (bandwidth.map { bytes / $0 } ?? 0)
    }

    /// Operations of one block for one token when nothing says: two for each parameter, taken as stored in
    /// four bits (PETALS' NF4: 4.25 bits and 1 % besides).
    public static func assumedBlockOperations(blockSize: ByteCount) -> Double {
        2 * Double(blockSize.rawValue) / (4.25 / 8 * 1.01)
    }
}
