import ChainModel

/// Where every number that a plan is made from came from.
public struct ClusterExplanation: Sendable {
    /// A number of the model, of the demand or of a server.
    public struct Entry: Hashable, Sendable {
        /// `model`, `demand`, or a server's name.
        public var subject: String
        /// As in a cluster file.
        public var quantity: String
        public var derivation: Derivation
        public var unit: String
    }

    /// Model and demand, then the servers in the order of the file.
    public let entries: [Entry]

    /// - Parameters:
    ///   - cluster: what the file was resolved to.
    ///   - overridden: keys of `demand` that the command line gave instead of the file.
    /// - Complexity: O(J).
    public init(_ file: ClusterFile, cluster: Cluster, overridden: [String] = []) {
        var entries: [Entry] = []
        func add(
            _ subject: String, _ quantity: String, _ value: Double, _ unit: String,
            _ source: Derivation.Source, _ explanation: String = ""
        ) {
            let derivation = Derivation(value: value, source: source, explanation: explanation)
            entries.append(Entry(subject: subject, quantity: quantity, derivation: derivation, unit: unit))
        }
        let model = cluster.model
        let (shape, reading) = Self.modelSource(file)
        add("model", "block_count", Double(model.blockCount), "", shape, reading)
        let formulas = Self.sizeFormulas(file, model)
        add("model", "block_size", Double(model.blockSize.rawValue), "B", shape, formulas.block + reading)
        add("model", "cache_size", Double(model.cacheSize.rawValue), "B", shape, formulas.cache + reading)
        let givesCompute = Self.givesComputeSize(file)
        add(
            "model", "compute_size", Double(model.computeSize.rawValue), "B",
            givesCompute ? .given : shape == .modelFile ? shape : .byDefault,
            shape == .modelFile && !givesCompute ? reading : "")
        if file.servers.contains(where: { $0.blockTime == nil && $0.device != nil }) {
            let operations = file.operations(of: model)
            entries.append(
                Entry(subject: "model", quantity: "block_operations", derivation: operations, unit: "FLOP"))
        }
        let commandLine = "on the command line"
        let givesRate = overridden.contains("arrival_rate")
        add("demand", "arrival_rate", cluster.demand.arrivalRate, "1/s", .given, givesRate ? commandLine : "")
        let givesTarget = overridden.contains("load_target")
        add(
            "demand", "load_target", cluster.demand.loadTarget, "",
            givesTarget || file.demand.loadTargetPosition.line != nil ? .given : .byDefault,
            givesTarget ? commandLine : "")
        if let tokens = file.demand.meanInputTokens { add("demand", "mean_input_tokens", tokens, "", .given) }
        if let tokens = file.demand.meanOutputTokens {
            add("demand", "mean_output_tokens", tokens, "", .given)
        }
        for (position, entry) in file.servers.enumerated() {
            let server = cluster.servers[position]
            let device = entry.memory == nil ? entry.device : nil
            add(
                entry.name, "memory", Double(server.memory.rawValue), "B",
                device == nil ? .given : .derived, device.map { "that of \($0)" } ?? "")
            let times = [
                (
                    "communication_time", server.communicationTimeSeconds,
                    file.communicationTime(of: entry, model)
                ),
                ("block_time", server.blockTimeSeconds, file.blockTime(of: entry, model)),
            ]
            for (quantity, value, derivation) in times {
                let found = derivation ?? Derivation(value: value, source: .byDefault, explanation: "")
                entries.append(Entry(subject: entry.name, quantity: quantity, derivation: found, unit: "s"))
            }
        }
        self.entries = entries
    }

    private static func modelSource(_ file: ClusterFile) -> (Derivation.Source, String) {
        switch file.model {
        case .shape: (.given, "")
        case .gguf(let reference) where reference.format == .gguf: (.modelFile, "from \(reference.path)")
        case .gguf(let reference): (.derived, "from the dimensions in \(reference.path)")
        }
    }

    /// How a configuration's sizes follow from its dimensions; empty for other sources.
    private static func sizeFormulas(_ file: ClusterFile, _ model: ModelShape) -> (
        block: String, cache: String
    ) {
        guard case .gguf(let reference) = file.model, reference.format == .huggingFace,
            let operations = model.blockOperations
        else { return ("", "") }
        let parameters = operations / 2
        let bits = reference.weightBits ?? (8 * Double(model.blockSize.rawValue) / parameters).rounded()
        let block = "parameters·bits/8 = \(figure(parameters))·\(figure(bits))/8, "
        guard let length = reference.maxSequenceLength else { return (block, "2·d_kv·l_max·2 bytes, ") }
        let width = model.cacheSize.rawValue / (4 * length)
        return (block, "2·d_kv·l_max·2 bytes = 2·\(width)·\(length)·2, ")
    }

    private static func givesComputeSize(_ file: ClusterFile) -> Bool {
        switch file.model {
        case .shape(let shape): shape.computeSize > .zero
        case .gguf(let reference): reference.computeSize != nil
        }
    }

    /// A line for each number: its value, where it came from, and how.
    public var text: String {
        var text = ""
        var subject = ""
        for entry in entries {
            if entry.subject != subject {
                subject = entry.subject
                text += "\(subject)\n"
            }
            let unit = entry.unit.isEmpty ? "" : " \(entry.unit)"
            let how = entry.derivation.explanation
            text +=
                "  \(entry.quantity) = \(Self.figure(entry.derivation.value))\(unit)  \(Self.words(entry.derivation.source))"
            text += how.isEmpty ? "\n" : ": \(how)\n"
        }
        return text
    }

    /// The same for programs: a list of objects.
    public var json: JSONText {
        .list(
            entries.map { entry in
                .object([
                    ("subject", .text(entry.subject)), ("quantity", .text(entry.quantity)),
                    ("value", .number(entry.derivation.value)), ("unit", .text(entry.unit)),
                    ("source", .text(entry.derivation.source.rawValue)),
                    ("explanation", .text(entry.derivation.explanation)),
                ])
            })
    }

    private static func figure(_ value: Double) -> String {
        value == value.rounded() && value.magnitude < 1e15 ? "\(Int(value))" : "\(value)"
    }

    private static func words(_ source: Derivation.Source) -> String {
        switch source {
        case .given: "given"
        case .modelFile: "read from the model file"
        case .derived: "derived"
        case .byDefault: "default"
        }
    }
}
