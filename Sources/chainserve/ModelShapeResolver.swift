import ChainEngine
import ChainFormats
import ChainModel

/// Tokens reserved for a job when a cluster file does not say `max_sequence_length`: this many, or the model's own
/// length where that is less.
let defaultSequenceLength = 2048

extension ClusterFile {
    /// The cluster, with the shape of its model read from the model's file where it names one.
    func resolved() throws -> Cluster {
        try resolve { reference in
            switch reference.format {
            case .gguf: try modelShape(of: LlamaFile(path: reference.path), reference)
            case .huggingFace:
                try ModelConfiguration.shape(
                    CommandFailure.read(reference.path), reference: reference,
                    defaultLength: defaultSequenceLength)
            }
        }
    }

    /// The shape of the model on the engine that the file names.
    func modelShape(of model: LlamaFile, _ reference: GGUFReference) throws -> ModelShape {
        guard engine == .petals else {
            return try chainserve.modelShape(of: model, reference, threads: mostThreads)
        }
        var shape = model.petalsShape(
            name: reference.name ?? fileStem(reference.path),
            sequenceLength: try sequenceLength(of: model, reference), valueSize: petalsValueSize)
        if let computeSize = reference.computeSize { shape.computeSize = computeSize }
        return shape
    }

    /// The most compute threads that a server has: each takes memory to compute in.
    var mostThreads: Int { max(EngineMemory.threads, servers.map(\.threads).max() ?? 1) }
}

func modelShape(of file: LlamaFile, _ reference: GGUFReference, threads: Int) throws -> ModelShape {
    let length = try sequenceLength(of: file, reference)
    var shape = file.shape(
        name: reference.name ?? fileStem(reference.path), sequenceLength: length, threads: threads)
    if let computeSize = reference.computeSize { shape.computeSize = computeSize }
    shape.blockOperations = 2 * blockParameters(file.parameters)
    shape.hiddenSize = file.parameters.embeddingWidth
    return shape
}

/// Parameters of one block: attention, a gated feed-forward part and two norms.
func blockParameters(_ parameters: LlamaParameters) -> Double {
    let width = Double(parameters.embeddingWidth)
    let attention = Double(parameters.headSize * 2 * (parameters.headCount + parameters.keyValueHeadCount))
    return width * (attention + 3 * Double(parameters.feedForwardWidth) + 2)
}

func sequenceLength(of reference: GGUFReference) throws -> Int {
    try sequenceLength(of: LlamaFile(path: reference.path), reference)
}

func sequenceLength(of file: LlamaFile, _ reference: GGUFReference) throws -> Int {
    let longest = file.parameters.contextLength
    let wanted = reference.maxSequenceLength ?? min(longest, defaultSequenceLength)
    guard wanted <= longest else {
        throw SequenceTooLong(path: reference.path, wanted: wanted, longest: longest)
    }
    return wanted
}

struct SequenceTooLong: Error, CustomStringConvertible {
    var path: String
    var wanted: Int
    var longest: Int
    var description: String {
        "model.max_sequence_length is \(wanted), but \(path) was trained for \(longest) tokens; give at most that"
    }
}

/// A file's name without folder and `.gguf`: what a model is called when its cluster file does not say.
func fileStem(_ path: String) -> String {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    return name.hasSuffix(".gguf") ? String(name.dropLast(5)) : name
}
