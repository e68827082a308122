import ChainModel

/// Where every number that a plan is made from came from.
public struct ClusterExplanation: Sendable {
    /// A number of the model, of the demand or of a server.
    public struct Entry: Hashable, Sendable {
        /// `model`, `time model`, `demand`, or a server's name.
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
        let usesDevices = file.servers.contains { $0.blockTime == nil && $0.device != nil }
        let usesRoundTrips = file.servers.contains { $0.communicationTime == nil && $0.roundTripTime != nil }
        let usesBandwidth = file.servers.contains { $0.communicationTime == nil && $0.bandwidth != nil }
        var list = Listing()
        Self.model(file, cluster.model, usesDevices: usesDevices, usesBandwidth: usesBandwidth, into: &list)
        if usesDevices {
            list.add(
                "time model", "block_overhead", DeviceCatalogue.blockOverheadSeconds, "s", .byDefault,
                "t_o, of one block for a job; Sun, He, Hou 2026, footnote 2")
        }
        if usesRoundTrips {
            list.add(
                "time model", "input_overhead", DeviceCatalogue.inputOverheadSeconds, "s", .byDefault,
                "o_in, of a job's prompt")
        }
        if usesBandwidth {
            list.add(
                "time model", "hidden_value_size", DeviceCatalogue.hiddenValueBytes, "B", .byDefault,
                "of one number of a hidden state, 16 bits")
        }
        Self.demand(file.demand, cluster.demand, overridden: overridden, into: &list)
        for (entry, server) in zip(file.servers, cluster.servers) {
            Self.server(entry, server, file, cluster.model, into: &list)
        }
        entries = list.entries
    }

    /// Entries as they are collected.
    private struct Listing {
        var entries: [Entry] = []

        mutating func add(
            _ subject: String, _ quantity: String, _ value: Double, _ unit: String,
            _ source: Derivation.Source, _ explanation: String = ""
        ) {
            add(
                subject, quantity, unit,
                Derivation(value: value, source: source, explanation: explanation))
        }

        mutating func add(
            _ subject: String, _ quantity: String, _ unit: String, _ derivation: Derivation
        ) {
            entries.append(Entry(subject: subject, quantity: quantity, derivation: derivation, unit: unit))
        }
    }

    private static func model(
        _ file: ClusterFile, _ model: ModelShape, usesDevices: Bool, usesBandwidth: Bool,
        into list: inout Listing
    ) {
        let (shape, reading) = modelSource(file)
        list.add("model", "block_count", Double(model.blockCount), "", shape, reading)
        let formulas = sizeFormulas(file, model)
        let (block, cache) = (Double(model.blockSize.rawValue), Double(model.cacheSize.rawValue))
        list.add("model", "block_size", block, "B", shape, formulas.block + reading)
        list.add("model", "cache_size", cache, "B", shape, formulas.cache + reading)
        let givesCompute = givesComputeSize(file)
        list.add(
            "model", "compute_size", Double(model.computeSize.rawValue), "B",
            givesCompute ? .given : shape == .modelFile ? shape : .byDefault,
            shape == .modelFile && !givesCompute
                ? "for the buffers of a step, from the dimensions " + reading : "")
        if usesBandwidth, let hidden = model.hiddenSize {
            list.add("model", "hidden_size", Double(hidden), "", shape, reading)
        }
        if usesDevices { list.add("model", "block_operations", "FLOP", file.operations(of: model)) }
    }

    private static func demand(
        _ section: DemandSection, _ demand: Demand, overridden: [String], into list: inout Listing
    ) {
        let commandLine = "on the command line"
        let givesRate = overridden.contains("arrival_rate")
        list.add("demand", "arrival_rate", demand.arrivalRate, "1/s", .given, givesRate ? commandLine : "")
        let givesTarget = overridden.contains("load_target")
        list.add(
            "demand", "load_target", demand.loadTarget, "",
            givesTarget || section.loadTargetPosition.line != nil ? .given : .byDefault,
            givesTarget ? commandLine : "")
        if let tokens = section.meanInputTokens {
            list.add("demand", "mean_input_tokens", tokens, "", .given)
        }
        if let tokens = section.meanOutputTokens {
            list.add("demand", "mean_output_tokens", tokens, "", .given)
        }
    }

    /// A server's numbers: what its times are derived from first, then the times.
    private static func server(
        _ entry: ServerEntry, _ server: Server, _ file: ClusterFile, _ model: ModelShape,
        into list: inout Listing
    ) {
        let memoryDevice = entry.memory == nil ? entry.device : nil
        list.add(
            entry.name, "memory", Double(server.memory.rawValue), "B",
            memoryDevice == nil ? .given : .derived, memoryDevice.map { "that of \($0)" } ?? "")
        if entry.blockTime == nil, let device = entry.device.flatMap({ DeviceCatalogue.device(named: $0) }) {
            let source = "that of \(device.name): \(device.source)"
            list.add(
                entry.name, "operations_per_second", device.operationsPerSecond, "FLOP/s", .derived, source)
            list.add(entry.name, "memory_bandwidth", device.bytesPerSecond, "B/s", .derived, source)
        }
        if entry.communicationTime == nil, let roundTrip = entry.roundTripTime {
            list.add(entry.name, "round_trip_time", roundTrip, "s", .given)
            if let bandwidth = entry.bandwidth {
                list.add(entry.name, "bandwidth", bandwidth, "B/s", .given)
            }
        }
        let communication = file.communicationTime(of: entry, model)
        let block = file.blockTime(of: entry, model)
        let times = [
            ("communication_time", server.communicationTimeSeconds, communication),
            ("block_time", server.blockTimeSeconds, block),
        ]
        for (quantity, value, derivation) in times {
            let found = derivation ?? Derivation(value: value, source: .byDefault, explanation: "")
            list.add(entry.name, quantity, "s", found)
        }
    }

    private static func modelSource(_ file: ClusterFile) -> (Derivation.Source, String) {
        switch file.model {
        case .shape: (.given, "")
        case .gguf(let reference) where reference.format == .gguf: (.modelFile, "from \(reference.path)")
        case .gguf(let reference): (.derived, "from the dimensions in \(reference.path)")
        }
    }

    /// How the sizes follow from what a model file or a configuration holds; empty for a shape in numbers.
    private static func sizeFormulas(_ file: ClusterFile, _ model: ModelShape) -> (
        block: String, cache: String
    ) {
        guard case .gguf(let reference) = file.model else { return ("", "") }
        guard reference.format == .huggingFace, let operations = model.blockOperations else {
            return ("the largest block's tensors, ", "keys and values of a job's longest sequence, ")
        }
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
