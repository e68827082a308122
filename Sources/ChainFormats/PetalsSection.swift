import ChainModel

/// The `petals` section: how PETALS servers are started, or which swarm they belong to. Everything may be left out.
public struct PetalsSection: Hashable, Sendable {
    /// Types that PETALS keeps weights, caches and hidden states in.
    public enum ValueType: String, Hashable, Sendable, CaseIterable {
        case float32
        case bfloat16
        case float16

        /// Bytes of one value.
        public var size: Int { self == .float32 ? 4 : 2 }
    }

    /// The model as PETALS knows it: a folder in Hugging Face's format, or a name on its hub. What
    /// `make petals` made of the GGUF when `nil`.
    public var model: String?
    /// What the swarm's blocks are called, without dots; made from the model's name when `nil`.
    public var prefix: String?
    /// Addresses of a swarm to join. Without any, servers that are started stand alone.
    public var initialPeers: [String]
    public var valueType: ValueType
    /// torch's name of the device that servers started here compute on.
    public var device: String?
    /// Tokens reserved for a job, for models whose shape is given in numbers.
    public var maxSequenceLength: Int?
    public var position: FilePosition

    public init(
        model: String? = nil, prefix: String? = nil, initialPeers: [String] = [],
        valueType: ValueType = .float32, device: String? = nil, maxSequenceLength: Int? = nil,
        position: FilePosition = FilePosition()
    ) {
        self.model = model
        self.prefix = prefix
        self.initialPeers = initialPeers
        self.valueType = valueType
        self.device = device
        self.maxSequenceLength = maxSequenceLength
        self.position = position
    }

    /// The prefix for a model's name: letters, digits and dashes.
    public static func prefix(for model: String) -> String {
        let safe = model.unicodeScalars.map { scalar in
            let isSafe = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
            return isSafe ? Character(scalar) : "-"
        }
        return safe.isEmpty ? "model" : String(safe)
    }
}

extension ClusterFileParser {
    static let petalsKeys = [
        "model", "prefix", "initial_peers", "torch_dtype", "device", "max_sequence_length",
    ]

    mutating func petals(_ node: DocumentNode) -> PetalsSection? {
        guard let fields = reader.fields(node, section: "petals", keys: Self.petalsKeys) else { return nil }
        var section = PetalsSection(position: FilePosition(line: node.line))
        section.model = reader.optional(fields, "model").flatMap { reader.text($0, "petals.model") }
        section.prefix = reader.optional(fields, "prefix").flatMap { prefix($0) }
        section.device = reader.optional(fields, "device").flatMap { reader.text($0, "petals.device") }
        section.maxSequenceLength = reader.optional(fields, "max_sequence_length")
            .flatMap { reader.integer($0, "petals.max_sequence_length", in: 1...Self.mostTokens) }
        if let node = reader.optional(fields, "torch_dtype"),
            let text = reader.text(node, "petals.torch_dtype")
        {
            if let known = PetalsSection.ValueType(rawValue: text) {
                section.valueType = known
            } else {
                let known = PetalsSection.ValueType.allCases.map(\.rawValue).joined(separator: " or ")
                reader.report(
                    .unknownName, line: node.line, "unknown petals.torch_dtype `\(text)`",
                    mend: "write \(known)")
            }
        }
        if let node = reader.optional(fields, "initial_peers") {
            let items = reader.items(node, section: "petals.initial_peers") ?? []
            section.initialPeers = items.compactMap { peer($0, "petals.initial_peers") }
        }
        return section
    }

    private mutating func prefix(_ node: DocumentNode) -> String? {
        guard let text = reader.text(node, "petals.prefix") else { return nil }
        if !text.contains("."), !text.contains(" ") { return text }
        reader.report(
            .wrongType, line: node.line, "petals.prefix is `\(text)`",
            mend: "leave out dots and spaces, with which PETALS separates the parts of a block's name")
        return nil
    }

    /// A PETALS server's address, as it prints it when it starts.
    mutating func peer(_ node: DocumentNode, _ what: String) -> String? {
        guard let text = reader.text(node, what) else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        if parts.count >= 3, parts[0].isEmpty, parts[parts.count - 2] == "p2p",
            !parts[parts.count - 1].isEmpty
        {
            return text
        }
        reader.report(
            .wrongType, line: node.line, "\(what) is `\(text)`",
            mend: "write the address that the server prints when it starts, such as"
                + " /ip4/10.0.0.7/tcp/31337/p2p/Qm…")
        return nil
    }

    /// What only goes together with `engine: petals`, and what does not.
    mutating func requirePetals(_ file: ClusterFile) {
        if file.engine != .petals {
            if let section = file.petals {
                reader.report(
                    .conflict, line: section.position.line,
                    "the section `petals` has no meaning without `engine: petals`",
                    mend: "write `engine: petals`, or remove the section")
            }
            for server in file.servers where server.peer != nil {
                reader.report(
                    .conflict, line: server.position.line,
                    "`peer` of server \(server.name) has no meaning without `engine: petals`",
                    mend: "write `engine: petals`, or give `address` instead")
            }
            return
        }
        for server in file.servers where server.address != nil {
            reader.report(
                .conflict, line: server.position.line,
                "server \(server.name) has an `address`, which PETALS servers do not have",
                mend: "give `peer`, the address that the server prints, or nothing to have it started")
        }
        if case .gguf = file.model, file.petals?.maxSequenceLength != nil {
            reader.report(
                .conflict, line: file.petals?.position.line,
                "`petals.max_sequence_length` is given beside `gguf`",
                mend: "write `max_sequence_length` under `model`")
        }
    }
}
