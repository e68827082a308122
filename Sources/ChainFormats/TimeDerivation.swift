import ChainModel

/// A number that planning uses, and where it came from.
public struct Derivation: Hashable, Sendable {
    public enum Source: String, Hashable, Sendable {
        /// Written in the cluster file, or on the command line.
        case given
        /// Read from the model file.
        case modelFile = "model-file"
        /// Computed from other numbers.
        case derived
        /// Nothing says otherwise.
        case byDefault = "default"
    }

    public var value: Double
    public var source: Source
    /// The formula with its numbers put in, or where the number stands; empty where there is nothing to add.
    public var explanation: String
}

extension ClusterFile {
    /// `τp` of a server, seconds; `nil` when nothing says it.
    func blockTime(of entry: ServerEntry, _ model: ModelShape) -> Derivation? {
        if let given = entry.blockTime { return Derivation(value: given, source: .given, explanation: "") }
        guard let device = entry.device.flatMap({ DeviceCatalogue.device(named: $0) }),
            let input = demand.meanInputTokens, let output = demand.meanOutputTokens
        else { return nil }
        let operations = operations(of: model).value
        let value = device.blockTime(
            blockOperations: operations, blockSize: model.blockSize, inputTokens: input, outputTokens: output)
        return Derivation(
            value: value, source: .derived,
            explanation:
                "t_o + F/f·l_in + s_m/b·(l_out − 1) = \(DeviceCatalogue.blockOverheadSeconds) + "
                + "\(operations)/\(device.operationsPerSecond)·\(input) + "
                + "\(model.blockSize.rawValue)/\(device.bytesPerSecond)·(\(output) − 1), device \(device.name): \(device.source)"
        )
    }

    /// `F`, FLOP of one block for one token.
    func operations(of model: ModelShape) -> Derivation {
        if let given = blockOperations { return Derivation(value: given, source: .given, explanation: "") }
        if let known = model.blockOperations {
            return Derivation(
                value: known, source: .modelFile, explanation: "two for each parameter of a block")
        }
        return Derivation(
            value: DeviceCatalogue.assumedBlockOperations(blockSize: model.blockSize), source: .derived,
            explanation:
                "2·s_m/(4.25/8·1.01) = 2·\(model.blockSize.rawValue)/\(4.25 / 8 * 1.01), two for each parameter of four bits"
        )
    }

    /// `τc` of a server, seconds; `nil` when nothing says it.
    func communicationTime(of entry: ServerEntry, _ model: ModelShape) -> Derivation? {
        if let given = entry.communicationTime {
            return Derivation(value: given, source: .given, explanation: "")
        }
        guard let roundTrip = entry.roundTripTime, let output = demand.meanOutputTokens else { return nil }
        let overhead = DeviceCatalogue.inputOverheadSeconds
        let plain = "o_in + RTT·l_out = \(overhead) + \(roundTrip)·\(max(1, output))"
        guard let bandwidth = entry.bandwidth else {
            return Derivation(
                value: DeviceCatalogue.communicationTime(roundTripTime: roundTrip, outputTokens: output),
                source: .derived, explanation: plain)
        }
        guard let hidden = model.hiddenSize, let input = demand.meanInputTokens else { return nil }
        let value = DeviceCatalogue.communicationTime(
            roundTripTime: roundTrip, outputTokens: output, inputTokens: input, hiddenSize: hidden,
            bandwidth: bandwidth)
        return Derivation(
            value: value, source: .derived,
            explanation: plain.replacing("l_out =", with: "l_out + 4·d·(l_in + l_out − 1)/bandwidth =")
                + " + 4·\(hidden)·(\(input) + \(max(1, output)) − 1)/\(bandwidth)")
    }
}
