import ChainEngine
import ChainFormats
import ChainModel
import Foundation

/// Where the parts of the PETALS engine are: what `make petals` set up, unless the environment says otherwise.
enum PetalsInstallation {
    /// The virtual environment: `CHAINSERVE_PETALS`, else the link that `make petals` leaves in the cache.
    static var environment: String {
        let given = ProcessInfo.processInfo.environment["CHAINSERVE_PETALS"] ?? ""
        return given.isEmpty ? CacheFolder.path("petals") : given
    }

    static var python: String { environment + "/bin/python" }

    /// - Throws: `PetalsError.notInstalled`.
    static func check() throws {
        guard FileManager.default.isExecutableFile(atPath: python) else {
            throw PetalsError.notInstalled(environment)
        }
    }

    /// The folder that `make petals` converted from a GGUF: beside the cached models. The float32 twin that lies beside it
    /// is known by its name.
    static func convertedModel(of gguf: String) -> String {
        let path = URL(fileURLWithPath: gguf)
        let beside = path.deletingLastPathComponent().appendingPathComponent("hf").path
        if path.lastPathComponent.hasSuffix(".f32.gguf"), FileManager.default.fileExists(atPath: beside) {
            return beside
        }
        return CacheFolder.path("models") + "/\(fileStem(gguf)).petals/hf"
    }
}

enum PetalsError: Error, CustomStringConvertible {
    case notInstalled(String)
    case noModel(String)
    case needsModel
    case needsLength(String)
    case workerEnded

    var description: String {
        switch self {
        case .notInstalled(let folder):
            "the PETALS engine is not installed in \(folder): run `make petals`, once"
        case .noModel(let folder):
            "\(folder) is not a model folder in Hugging Face's format; convert the GGUF with `Scripts/petals.sh --model"
                + " FILE.gguf`, or name a folder with `petals.model`"
        case .needsModel:
            "the commands need to know the model: give `petals.model`, a folder or a name on the Hugging Face hub"
        case .needsLength(let file):
            "\(file): the commands need to know how many tokens a job has room for: give `max_sequence_length` under"
                + " `petals`"
        case .workerEnded: "the PETALS worker ended before it was ready; its message is above"
        }
    }
}

extension ServicePool {
    var isPetals: Bool { file.engine == .petals }

    private var section: PetalsSection { file.petals ?? PetalsSection() }

    /// The folder that servers started here load their blocks from.
    /// - Throws: `PetalsError.noModel` when one is needed and is not there.
    private func petalsModel() throws -> String {
        let folder = section.model.map(file.path) ?? PetalsInstallation.convertedModel(of: modelPath ?? "")
        let isNeeded = file.servers.contains { $0.peer == nil }
        guard !isNeeded || FileManager.default.fileExists(atPath: folder + "/config.json") else {
            throw PetalsError.noModel(folder)
        }
        return folder
    }

    /// What the worker is told.
    /// - Parameter ports: where it listens for each server; zero takes any free port.
    func petalsPoolFile(state: String, ports: [Int]) throws -> String {
        let cluster = try cluster(defaultTimes: ServerTimes(communicationTime: 1, blockTime: 1))
        var servers: [JSONText] = []
        for (index, server) in cluster.servers.enumerated() {
            let entry = file.servers[index]
            var fields: [(key: String, value: JSONText)] = [
                ("name", .text(server.name)), ("memory", .integer(server.memory.rawValue)),
                ("threads", .integer(entry.threads)), ("port", .integer(ports[index])),
            ]
            if let peer = entry.peer { fields.append(("peer", .text(peer))) }
            servers.append(.object(fields))
        }
        var fields: [(key: String, value: JSONText)] = [
            ("model", .text(try petalsModel())),
            ("dht_prefix", .text(section.prefix ?? PetalsSection.prefix(for: shape.name))),
            ("state", .text(state)),
            ("torch_dtype", .text(section.valueType.rawValue)),
            ("initial_peers", .list(section.initialPeers.map { .text($0) })),
        ]
        if let device = section.device { fields.append(("device", .text(device))) }
        fields.append(("servers", .list(servers)))
        return JSONText.object(fields).rendered()
    }

    /// What is worth knowing before serving; empty in the best case.
    var petalsNotes: [String] {
        guard isPetals, let model, !model.hasFullEnds else { return [] }
        return [
            "embedding and output head are computed here from quantised weights, the blocks by PETALS from the same"
                + " weights in full: tokens may differ from transformers'; name the float32 GGUF that `make petals` wrote"
        ]
    }
}

extension ClusterFile {
    /// Bytes that PETALS' values take.
    var petalsValueSize: Int { (petals ?? PetalsSection()).valueType.size }
}
