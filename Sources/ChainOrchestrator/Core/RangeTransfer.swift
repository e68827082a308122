import ChainEngine
import ChainModel
import ChainWire

extension RangeSource {
    /// Where the bytes of tensors come from.
    var tensors: any TensorSource {
        switch self {
        case .file(let file): file
        case .emulated: NoTensors()
        }
    }
}

/// An emulated pool has no weights to send.
private struct NoTensors: TensorSource {
    func read(_ entry: TensorEntry, into destination: UnsafeMutableRawBufferPointer) throws(EngineError) {
        throw .modelFile("an emulated pool has no weights to send")
    }
}

extension LoadProgress {
    /// What a person is told of a load.
    var text: String {
        let percent = bytesTotal > 0 ? 100 * bytesDone / bytesTotal : 0
        return switch stage {
        case .verifying: "checking its blocks (\(percent) %)"
        case .receiving: "receiving its blocks (\(percent) %)"
        case .building: "loading its blocks (\(percent) %)"
        }
    }
}
