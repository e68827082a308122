import ChainModel

/// A kind of accelerator: what the time model needs of it (footnote 2 of the paper).
public struct Device: Hashable, Sendable {
    /// As written in a cluster file.
    public var name: String
    /// Memory for blocks and caches, bytes.
    public var memory: ByteCount
    /// Sustained operations per second in prefill: `f`, FLOP/s.
    public var operationsPerSecond: Double
    /// Memory bandwidth: `b`, bytes/s.
    public var bytesPerSecond: Double

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

    /// The two slices of an A100 that the paper measures with: memory, FLOP/s of its section 4 and bandwidth.
    ///
    /// Only devices whose numbers can be traced belong here.
    public static let devices: [Device] = [
        Device(
            name: "a100-3g.40gb", memory: ByteCount(40_000_000_000), operationsPerSecond: 120e12,
            bytesPerSecond: 1.02e12),
        Device(
            name: "a100-2g.20gb", memory: ByteCount(20_000_000_000), operationsPerSecond: 80e12,
            bytesPerSecond: 0.51e12),
    ]

    public static func device(named name: String) -> Device? { devices.first { $0.name == name } }

    /// Mean communication time of a job at a server, seconds, from the round trip to it: every token makes one round
    /// trip, the prompt an overhead besides: `τc = (RTT + o_in) + (l_out − 1)·RTT`.
    public static func communicationTime(roundTripTime: Double, outputTokens: Double) -> Double {
        inputOverheadSeconds + roundTripTime * max(1, outputTokens)
    }

    /// Operations of one block for one token when the file does not say: two for each parameter, taken as stored in
    /// four bits (PETALS' NF4: 4.25 bits and 1 % besides).
    public static func assumedBlockOperations(blockSize: ByteCount) -> Double {
        2 * Double(blockSize.rawValue) / (4.25 / 8 * 1.01)
    }
}
