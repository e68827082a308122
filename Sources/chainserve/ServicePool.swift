import ChainEngine
import ChainFormats
import ChainModel
import ChainOrchestrator
import Foundation

/// A cluster file with everything looked up that serving needs.
struct ServicePool {
    var file: ClusterFile
    /// The model file; `nil` for an emulated pool that names none.
    var model: LlamaFile?
    var modelPath: String?
    var shape: ModelShape
    var sequenceLength: Int
    /// The demand is ours to choose: it is set to suit the speed that is measured.
    var demandFollowsSpeed = false
    /// An emulated pool's times are multiplied by this and its arrival rate divided.
    var timeScale = 1.0

    /// - Parameter override: a GGUF to serve instead of the file's model.
    init(_ file: ClusterFile, model override: String?) throws {
        self.file = file
        if let override {
            var reference = GGUFReference(path: absolutePath(override))
            if case .gguf(let given) = file.model {
                reference.maxSequenceLength = given.maxSequenceLength
                reference.computeSize = given.computeSize
            }
            self.file.model = .gguf(reference)
        }
        switch self.file.model {
        case .shape(let given):
            guard file.engine == .emulated else { throw ServiceError.noModelFile(file.file.name) }
            shape = given
            sequenceLength = defaultSequenceLength
        case .gguf(var reference):
            guard reference.format == .gguf else { throw ServiceError.noModelFile(file.file.name) }
            reference.path = file.path(reference.path)
            let opened = try LlamaFile(path: reference.path)
            model = opened
            modelPath = absolutePath(reference.path)
            shape = try file.modelShape(of: opened, reference)
            sequenceLength = try chainserve.sequenceLength(of: opened, reference)
        }
    }

    var isEmulated: Bool { file.engine == .emulated }
    var meanInputTokens: Int { max(1, Int((file.demand.meanInputTokens ?? 48).rounded())) }
    var meanOutputTokens: Int { max(1, Int((file.demand.meanOutputTokens ?? 64).rounded())) }

    /// Whether every server has times, so that a plan can be made.
    var hasTimes: Bool {
        file.servers.allSatisfy {
            ($0.communicationTime != nil || $0.roundTripTime != nil)
                && ($0.blockTime != nil || $0.device != nil)
        }
    }

    func cluster(defaultTimes: ServerTimes? = nil) throws -> Cluster {
        var cluster = try file.resolve(defaultTimes: defaultTimes) { _ in shape }
        guard timeScale != 1 else { return cluster }
        cluster.demand.arrivalRate /= timeScale
        for index in cluster.servers.indices {
            cluster.servers[index].communicationTimeSeconds *= timeScale
            cluster.servers[index].blockTimeSeconds *= timeScale
        }
        return cluster
    }

    func frontend(threads: Int = 1) throws -> any ModelFrontend {
        if isEmulated {
            return EmulatedFrontend(blockCount: shape.blockCount, defaultOutputTokens: meanOutputTokens)
        }
        guard let model else { throw ServiceError.noModelFile(file.file.name) }
        return try LlamaFrontend(model: model, threads: threads, blocksAreGGML: !isPetals)
    }

    var source: RangeSource {
        get throws {
            if isEmulated { return .emulated(shape, width: EmulatedFrontend.width) }
            guard let model else { throw ServiceError.noModelFile(file.file.name) }
            return .file(model)
        }
    }

    /// The addresses of the servers, all of which must be given.
    func addresses() throws -> [ServerAddress] {
        try file.servers.map { server in
            guard let text = server.address else { throw ServiceError.noAddress(server.name) }
            guard let address = ServerAddress(text), address.port > 0 else {
                throw ServiceError.badAddress(server.name, text)
            }
            return address
        }
    }

    /// What a server's emulated engine takes for a step: the whole job's times spread over its tokens.
    func emulatedProfile(of server: Server) -> EmulatedProfile {
        let steps = Double(meanOutputTokens)
        return EmulatedProfile(
            stepSeconds: server.communicationTimeSeconds / steps,
            promptSecondsPerBlock: server.blockTimeSeconds / steps,
            decodeSecondsPerBlock: server.blockTimeSeconds / steps, carriesClock: true)
    }
}

/// What is wrong with a request to serve, with what to change.
enum ServiceError: Error, CustomStringConvertible {
    case noModelFile(String)
    case noAddress(String)
    case badAddress(String, String)
    case noTimes(String)
    case timeScaleOfRealPool

    var description: String {
        switch self {
        case .noModelFile(let file):
            "\(file): gives the model's shape only; to serve it, name a file with `gguf:` under `model`, or say"
                + " `engine: emulated`"
        case .noAddress(let server):
            "server \(server) has no address; give `address: HOST:PORT`, where `chainserve node` listens"
        case .badAddress(let server, let text):
            "server \(server): the address '\(text)' is not HOST:PORT with a port from 1 to 65535"
        case .noTimes(let file):
            "\(file): some servers have no communication_time and block_time; measure them with"
                + " `chainserve profile \(file)`"
        case .timeScaleOfRealPool:
            "--time-scale is for emulated pools; say --emulated too, or `engine: emulated` in the file"
        }
    }
}

func absolutePath(_ path: String) -> String {
    path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
}
