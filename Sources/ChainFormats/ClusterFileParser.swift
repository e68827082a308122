import ChainModel

extension ClusterFile {
    /// Reads a cluster file, YAML or JSON.
    /// - Parameters:
    ///   - text: the whole file.
    ///   - file: its name, for messages and for paths relative to it; a name ending in `.json` must hold JSON.
    /// - Throws: `FormatError` with every mistake found, each naming its line and what to change.
    /// - Complexity: O(length of the text).
    public static func parse(_ text: String, file: String = "cluster.yaml") throws -> ClusterFile {
        let document = try DocumentNode.read(text, file: file)
        var parser = ClusterFileParser()
        let cluster = parser.cluster(document, file: file)
        guard let cluster, parser.reader.problems.isEmpty else {
            throw FormatError(file: file, problems: parser.reader.problems)
        }
        return cluster
    }
}

/// One pass over the document tree; `nil` stands for a value whose problem has been reported.
struct ClusterFileParser {
    var reader = FieldReader()

    /// More blocks than any model has; the planner's tables grow with the square.
    static let mostBlocks = 4096
    static let mostTokens = 1 << 30
    static let mostHidden = 1 << 20
    static let mostThreads = 4096

    private static let topKeys = [
        "model", "demand", "servers", "placement", "engine", "profile", "journal", "petals",
    ]
    private static let modelKeys = [
        "name", "block_count", "block_size", "cache_size", "compute_size", "block_operations", "gguf",
        "max_sequence_length", "config", "weight_bits", "hidden_size",
    ]
    private static let journalKeys = ["path", "texts", "max_age", "max_size"]
    private static let demandKeys = [
        "arrival_rate", "load_target", "mean_input_tokens", "mean_output_tokens",
    ]
    private static let serverKeys = [
        "name", "memory", "communication_time", "block_time", "device", "round_trip_time", "bandwidth",
        "forward_rate", "network_rate", "round_trip_times", "address", "threads", "gguf", "peer",
    ]

    mutating func cluster(_ document: DocumentNode, file: String) -> ClusterFile? {
        guard let top = reader.fields(document, section: "the cluster file", keys: Self.topKeys) else {
            return nil
        }
        let engine = engine(top)
        let model = reader.required(top, "model", example: "{name: …}").flatMap { self.model($0) }
        let demand = reader.required(top, "demand", example: "{arrival_rate: 0.2}").flatMap {
            self.demand($0)
        }
        let servers = reader.required(top, "servers", example: "[…]").flatMap { self.servers($0) }
        let names = servers?.map(\.name)
        let placement = reader.optional(top, "placement").map { self.placement($0, servers: names) } ?? []
        let profile = reader.optional(top, "profile").map { self.profile($0) } ?? []
        let journal = reader.optional(top, "journal").map { self.journal($0) } ?? JournalSection()
        let petals = reader.optional(top, "petals").flatMap { self.petals($0) }
        guard let model, let demand, let servers else { return nil }
        let result = ClusterFile(
            engine: engine, model: model.source, blockOperations: model.operations, demand: demand,
            servers: servers,
            placement: placement, profile: profile, journal: journal, petals: petals, file: FileName(file),
            modelPosition: FilePosition(line: top.line(of: "model")),
            serversPosition: FilePosition(line: top.line(of: "servers")))
        requireTimes(result)
        requirePetals(result)
        return result
    }

    private mutating func engine(_ top: Fields) -> EngineKind {
        guard let node = reader.optional(top, "engine"), let text = reader.text(node, "engine") else {
            return .ggml
        }
        if let kind = EngineKind(rawValue: text) { return kind }
        let known = EngineKind.allCases.map(\.rawValue).joined(separator: " or ")
        reader.report(.unknownName, line: node.line, "unknown engine `\(text)`", mend: "write \(known)")
        return .ggml
    }

    private mutating func journal(_ node: DocumentNode) -> JournalSection {
        var section = JournalSection()
        guard let fields = reader.fields(node, section: "journal", keys: Self.journalKeys) else {
            return section
        }
        section.path = reader.optional(fields, "path").flatMap { reader.text($0, "journal.path") }
        if let node = reader.optional(fields, "texts"), let text = reader.text(node, "journal.texts") {
            section.keepsTexts = text != "false"
            if text != "true" && text != "false" {
                reader.report(
                    .wrongType, line: node.line, "`journal.texts` is `\(text)`", mend: "write true or false")
            }
        }
        section.ageLimit = reader.optional(fields, "max_age").flatMap { reader.time($0, "journal.max_age") }
        section.sizeLimit = reader.optional(fields, "max_size").flatMap {
            reader.size($0, "journal.max_size")
        }
        return section
    }

    // MARK: Model and demand

    private mutating func model(_ node: DocumentNode) -> (source: ModelSource, operations: Double?)? {
        guard let fields = reader.fields(node, section: "model", keys: Self.modelKeys) else { return nil }
        let compute = reader.optional(fields, "compute_size").flatMap {
            reader.size($0, "model.compute_size")
        }
        let operations = reader.optional(fields, "block_operations")
            .flatMap { reader.positiveNumber($0, "model.block_operations") }
        let name = reader.optional(fields, "name").flatMap { reader.text($0, "model.name") }
        let length = reader.optional(fields, "max_sequence_length")
            .flatMap { reader.integer($0, "model.max_sequence_length", in: 1...Self.mostTokens) }
        for key in ["gguf", "config"] {
            guard let node = reader.optional(fields, key) else { continue }
            return reference(node, key, fields).map { reference in
                var reference = reference
                (reference.name, reference.maxSequenceLength, reference.computeSize) = (name, length, compute)
                return (.gguf(reference), operations)
            }
        }
        for key in ["max_sequence_length", "weight_bits"] {
            guard let entry = fields.entry(key) else { continue }
            reader.report(
                .conflict, line: entry.line, "`\(key)` has no meaning without `gguf` or `config`",
                mend: "remove it and give `cache_size` and `block_size`, or name a model file")
        }
        let hiddenSize = reader.optional(fields, "hidden_size")
            .flatMap { reader.integer($0, "model.hidden_size", in: 1...Self.mostHidden) }
        let blockCount = reader.required(fields, "block_count", example: "70")
            .flatMap { reader.integer($0, "model.block_count", in: 1...Self.mostBlocks) }
        let blockSize = reader.required(fields, "block_size", example: "1.32 GB")
            .flatMap { reader.size($0, "model.block_size") }
        let cacheSize = reader.required(fields, "cache_size", example: "0.11 GB")
            .flatMap { reader.size($0, "model.cache_size") }
        guard let blockCount, let blockSize, let cacheSize else { return nil }
        let shape = ModelShape(
            name: name ?? "model", blockCount: blockCount, blockSize: blockSize, cacheSize: cacheSize,
            computeSize: compute ?? .zero, hiddenSize: hiddenSize)
        return (.shape(shape), operations)
    }

    /// The model file named by `gguf` or `config`, which says what would otherwise be given in numbers.
    private mutating func reference(_ node: DocumentNode, _ key: String, _ fields: Fields) -> GGUFReference? {
        let other = key == "gguf" ? "config" : "gguf"
        for taken in ["block_count", "block_size", "cache_size", "hidden_size", other] {
            guard let entry = fields.entry(taken) else { continue }
            reader.report(
                .conflict, line: entry.line, "`\(taken)` is given beside `\(key)`",
                mend: taken == other ? "keep one of the two" : "remove it: the model file says it")
        }
        let bits = reader.optional(fields, "weight_bits")
            .flatMap { reader.positiveNumber($0, "model.weight_bits") }
        if key == "gguf", let entry = fields.entry("weight_bits") {
            reader.report(
                .conflict, line: entry.line, "`weight_bits` is given beside `gguf`",
                mend: "remove it: the model file says it")
        } else if let bits, bits > 64, let entry = fields.entry("weight_bits") {
            reader.report(
                .outOfRange, line: entry.line, "model.weight_bits is \(bits)",
                mend: "write the bits of one parameter, such as 16 or 4.25")
        }
        guard let path = reader.text(node, "model.\(key)") else { return nil }
        return GGUFReference(path: path, format: key == "gguf" ? .gguf : .huggingFace, weightBits: bits)
    }

    private mutating func demand(_ node: DocumentNode) -> DemandSection? {
        guard let fields = reader.fields(node, section: "demand", keys: Self.demandKeys) else { return nil }
        let rate = reader.required(fields, "arrival_rate", example: "0.2")
            .flatMap { reader.rate($0, "demand.arrival_rate") }
        var target = 0.7
        if let node = reader.optional(fields, "load_target"),
            let value = reader.positiveNumber(node, "demand.load_target")
        {
            target = value
            if value >= 1 {
                reader.report(
                    .outOfRange, line: node.line, "demand.load_target is \(value)",
                    mend: "write a number between 0 and 1, such as 0.7")
            }
        }
        let input = reader.optional(fields, "mean_input_tokens")
            .flatMap { reader.positiveNumber($0, "demand.mean_input_tokens") }
        let output = reader.optional(fields, "mean_output_tokens")
            .flatMap { reader.positiveNumber($0, "demand.mean_output_tokens") }
        return rate.map {
            DemandSection(
                arrivalRate: $0, loadTarget: target, meanInputTokens: input, meanOutputTokens: output,
                loadTargetPosition: FilePosition(line: fields.entry("load_target")?.line))
        }
    }

    // MARK: Servers

    private mutating func servers(_ node: DocumentNode) -> [ServerEntry]? {
        guard let items = reader.items(node, section: "servers") else { return nil }
        if items.isEmpty {
            reader.report(
                .missingKey, line: node.line, "`servers` is empty", mend: "describe at least one server")
            return nil
        }
        var entries: [ServerEntry] = []
        entries.reserveCapacity(items.count)
        var lines: [String: Int] = [:]
        for (position, item) in items.enumerated() {
            guard let entry = server(item, section: "servers[\(position + 1)]") else { continue }
            if let line = lines[entry.name] {
                reader.report(
                    .duplicateName, line: entry.position.line,
                    "the server name `\(entry.name)` is used before on line \(line)",
                    mend: "give every server its own name")
            }
            lines[entry.name] = entry.position.line ?? 0
            entries.append(entry)
        }
        return entries
    }

    private mutating func server(_ node: DocumentNode, section: String) -> ServerEntry? {
        guard let fields = reader.fields(node, section: section, keys: Self.serverKeys) else { return nil }
        let name = reader.required(fields, "name", example: "paris-1").flatMap {
            reader.text($0, "\(section).name")
        }
        let label = name.map { "server \($0)" } ?? section
        let device = reader.optional(fields, "device").flatMap { self.device($0, label) }
        let deviceMemory = device.flatMap { DeviceCatalogue.device(named: $0)?.memory }
        let memoryNode =
            deviceMemory == nil
            ? reader.required(fields, "memory", example: "40 GB") : reader.optional(fields, "memory")
        let memory = memoryNode.flatMap { reader.size($0, "memory of \(label)") }
        var entry = ServerEntry(
            name: name ?? section, memory: memory, device: device,
            position: FilePosition(line: fields.line(of: "name")))
        entry.communicationTime = time(fields, "communication_time", label)
        entry.blockTime = time(fields, "block_time", label)
        entry.roundTripTime = time(fields, "round_trip_time", label)
        entry.bandwidth = reader.optional(fields, "bandwidth")
            .flatMap { reader.bandwidth($0, "bandwidth of \(label)") }
        entry.forwardRate = reader.optional(fields, "forward_rate")
            .flatMap { reader.rate($0, "forward_rate of \(label)") }
        entry.networkRate = reader.optional(fields, "network_rate")
            .flatMap { reader.rate($0, "network_rate of \(label)") }
        entry.roundTripTimes = reader.optional(fields, "round_trip_times").map { roundTrips($0, label) } ?? []
        entry.address = reader.optional(fields, "address").flatMap { address($0, label) }
        entry.threads =
            reader.optional(fields, "threads")
            .flatMap { reader.integer($0, "threads of \(label)", in: 1...Self.mostThreads) } ?? 1
        entry.gguf = reader.optional(fields, "gguf").flatMap { reader.text($0, "gguf of \(label)") }
        entry.peer = reader.optional(fields, "peer").flatMap { peer($0, "peer of \(label)") }
        return name == nil ? nil : entry
    }

    private mutating func time(_ fields: Fields, _ key: String, _ label: String) -> Double? {
        // One that is wrong has been reported, and is not missing as well.
        reader.optional(fields, key).map { reader.time($0, "\(key) of \(label)") ?? 0 }
    }

    private mutating func device(_ node: DocumentNode, _ label: String) -> String? {
        guard let text = reader.text(node, "device of \(label)") else { return nil }
        if DeviceCatalogue.device(named: text) != nil { return text }
        // The first that it begins, or by letters.
        let names = DeviceCatalogue.devices.map(\.name)
        let written = text.lowercased()
        let known = names.first { $0.hasPrefix(written) } ?? nearest(to: written, among: names) ?? ""
        reader.report(
            .unknownName, line: node.line, "device of \(label): `\(text)` is not in the catalogue",
            mend: "did you mean `\(known)`? `chainserve devices` lists them; or give block_time instead")
        return text
    }

    private mutating func roundTrips(_ node: DocumentNode, _ label: String) -> [NamedTime] {
        guard case .mapping(let entries) = node.content else {
            reader.report(
                .wrongType, line: node.line, "round_trip_times of \(label) is \(node.kind)",
                mend: "write a mapping from server names to seconds")
            return []
        }
        var times: [NamedTime] = []
        for entry in entries {
            guard let seconds = reader.time(entry.value, "round trip from \(label) to \(entry.key)") else {
                continue
            }
            times.append(NamedTime(name: entry.key, seconds: seconds))
        }
        return times
    }

    private mutating func address(_ node: DocumentNode, _ label: String) -> String? {
        guard let text = reader.text(node, "address of \(label)") else { return nil }
        if let colon = text.lastIndex(of: ":"), colon != text.startIndex,
            let port = Int(text[text.index(after: colon)...]), (1...65535).contains(port)
        {
            return text
        }
        reader.report(
            .invalidNumber, line: node.line, "address of \(label) is `\(text)`",
            mend: "write host:port, such as 10.0.0.7:7001")
        return nil
    }

    /// A shape in numbers comes with times in numbers; a model file may wait for `chainserve profile`.
    private mutating func requireTimes(_ file: ClusterFile) {
        for server in file.servers {
            if server.blockTime == nil, server.device == nil, case .shape = file.model {
                reader.report(
                    .missingTimes, line: server.position.line, "server \(server.name) has no `block_time`",
                    mend: "add for example `block_time: 0.109`, or `device` with a name of the catalogue")
            }
            if server.communicationTime == nil, server.roundTripTime == nil, case .shape = file.model {
                reader.report(
                    .missingTimes, line: server.position.line,
                    "server \(server.name) has no `communication_time`",
                    mend: "add for example `communication_time: 0.34`, or `round_trip_time`")
            }
            requireTokens(server, file.demand)
        }
    }

    private mutating func requireTokens(_ server: ServerEntry, _ demand: DemandSection) {
        if server.blockTime == nil, server.device != nil,
            demand.meanInputTokens == nil || demand.meanOutputTokens == nil
        {
            reader.report(
                .missingKey, line: server.position.line,
                "the block time of server \(server.name) from its device depends on the tokens of a job",
                mend: "add `mean_input_tokens` and `mean_output_tokens` to `demand`, or give block_time")
        } else if server.communicationTime == nil, server.roundTripTime != nil, demand.meanOutputTokens == nil
        {
            reader.report(
                .missingKey, line: server.position.line,
                "the communication time of server \(server.name) from its round trip depends on the tokens of a job",
                mend: "add `mean_output_tokens` to `demand`, or give communication_time")
        }
    }

    // MARK: Placement and profile

    private mutating func placement(_ node: DocumentNode, servers: [String]?) -> [PlacementEntry] {
        guard let items = reader.items(node, section: "placement") else { return [] }
        let known = servers.map { Set($0) }
        var seen: Set<String> = []
        var entries: [PlacementEntry] = []
        for (position, item) in items.enumerated() {
            let section = "placement[\(position + 1)]"
            guard
                let fields = reader.fields(
                    item, section: section, keys: ["server", "first_block", "block_count"])
            else { continue }
            let server = reader.required(fields, "server", example: "paris-1")
                .flatMap { reader.text($0, "\(section).server") }
            let first = reader.required(fields, "first_block", example: "1")
                .flatMap { reader.integer($0, "\(section).first_block", in: 1...Self.mostBlocks) }
            let count = reader.required(fields, "block_count", example: "20")
                .flatMap { reader.integer($0, "\(section).block_count", in: 1...Self.mostBlocks) }
            guard let server else { continue }
            let line = fields.line(of: "server")
            if let known, !known.contains(server) {
                let name = nearest(to: server, among: servers ?? []) ?? ""
                reader.report(
                    .unknownName, line: line, "\(section) names the unknown server `\(server)`",
                    mend: "did you mean `\(name)`?")
            }
            if !seen.insert(server).inserted {
                reader.report(
                    .duplicateName, line: line, "\(section) places server `\(server)` a second time",
                    mend: "a server hosts one range: keep one entry")
            }
            guard let first, let count else { continue }
            entries.append(
                PlacementEntry(
                    server: server, range: BlockRange(first: first, count: count),
                    position: FilePosition(line: line)))
        }
        return entries
    }

    private mutating func profile(_ node: DocumentNode) -> [ProfileEntry] {
        guard case .mapping(let entries) = node.content else {
            reader.report(
                .wrongType, line: node.line, "`profile` is \(node.kind)",
                mend: "write a mapping of single values")
            return []
        }
        var result: [ProfileEntry] = []
        for entry in entries {
            switch entry.value.content {
            case .scalar(let text): result.append(ProfileEntry(key: entry.key, value: text))
            case .null: result.append(ProfileEntry(key: entry.key, value: ""))
            default:
                reader.report(
                    .wrongType, line: entry.line, "`\(entry.key)` in profile is \(entry.value.kind)",
                    mend: "write a single value")
            }
        }
        return result
    }
}
