import ChainModel

extension ClusterFile {
    /// The file as YAML. Reading it back gives an equal `ClusterFile`; comments of a file read before are not kept.
    /// - Complexity: O(length of the text).
    public var yaml: String {
        var writer = YAMLWriter()
        if engine != .ggml { writer.line(0, "engine", engine.rawValue) }
        emitModel(&writer)
        emitPetals(&writer)
        emitDemand(&writer)
        writer.open(0, "servers")
        for server in servers { emit(server, &writer) }
        if !placement.isEmpty {
            writer.open(0, "placement")
            for entry in placement {
                writer.item("server", entry.server)
                writer.line(2, "first_block", "\(entry.range.first)")
                writer.line(2, "block_count", "\(entry.range.count)")
            }
        }
        if journal != JournalSection() {
            writer.open(0, "journal")
            writer.line(1, "path", journal.path)
            if !journal.keepsTexts { writer.line(1, "texts", "false") }
            writer.line(1, "max_age", journal.ageLimit.map { "\($0)" })
            writer.line(1, "max_size", journal.sizeLimit?.exactText)
        }
        if !profile.isEmpty {
            writer.open(0, "profile")
            for entry in profile { writer.line(1, entry.key, entry.value) }
        }
        return writer.text
    }

    private func emitModel(_ writer: inout YAMLWriter) {
        writer.open(0, "model")
        switch model {
        case .shape(let shape):
            writer.line(1, "name", shape.name)
            writer.line(1, "block_count", "\(shape.blockCount)")
            writer.line(1, "block_size", shape.blockSize.exactText)
            writer.line(1, "cache_size", shape.cacheSize.exactText)
            if shape.computeSize > .zero { writer.line(1, "compute_size", shape.computeSize.exactText) }
            writer.line(1, "hidden_size", shape.hiddenSize.map { "\($0)" })
        case .gguf(let reference):
            writer.line(1, "name", reference.name)
            writer.line(1, reference.format == .gguf ? "gguf" : "config", reference.path)
            writer.line(1, "weight_bits", reference.weightBits.map { "\($0)" })
            writer.line(1, "max_sequence_length", reference.maxSequenceLength.map { "\($0)" })
            writer.line(1, "compute_size", reference.computeSize?.exactText)
        }
        writer.line(1, "block_operations", blockOperations.map { "\($0)" })
    }

    private func emitPetals(_ writer: inout YAMLWriter) {
        guard let petals else { return }
        writer.open(0, "petals")
        writer.line(1, "torch_dtype", petals.valueType.rawValue)
        writer.line(1, "model", petals.model)
        writer.line(1, "prefix", petals.prefix)
        writer.line(1, "device", petals.device)
        writer.line(1, "max_sequence_length", petals.maxSequenceLength.map { "\($0)" })
        if !petals.initialPeers.isEmpty {
            writer.open(1, "initial_peers")
            for peer in petals.initialPeers { writer.entry(2, peer) }
        }
    }

    private func emitDemand(_ writer: inout YAMLWriter) {
        writer.open(0, "demand")
        writer.line(1, "arrival_rate", "\(demand.arrivalRate)")
        writer.line(1, "load_target", "\(demand.loadTarget)")
        writer.line(1, "mean_input_tokens", demand.meanInputTokens.map { "\($0)" })
        writer.line(1, "mean_output_tokens", demand.meanOutputTokens.map { "\($0)" })
    }

    private func emit(_ server: ServerEntry, _ writer: inout YAMLWriter) {
        writer.item("name", server.name)
        writer.line(2, "memory", server.memory?.exactText)
        writer.line(2, "communication_time", server.communicationTime.map { "\($0)" })
        writer.line(2, "block_time", server.blockTime.map { "\($0)" })
        writer.line(2, "device", server.device)
        writer.line(2, "round_trip_time", server.roundTripTime.map { "\($0)" })
        writer.line(2, "bandwidth", server.bandwidth.map { "\($0) B/s" })
        writer.line(2, "forward_rate", server.forwardRate.map { "\($0)" })
        writer.line(2, "network_rate", server.networkRate.map { "\($0)" })
        if !server.roundTripTimes.isEmpty {
            writer.open(2, "round_trip_times")
            for time in server.roundTripTimes { writer.line(3, time.name, "\(time.seconds)") }
        }
        writer.line(2, "address", server.address)
        if server.threads != 1 { writer.line(2, "threads", "\(server.threads)") }
        writer.line(2, "gguf", server.gguf)
        writer.line(2, "peer", server.peer)
    }
}

/// Lines of a YAML block, texts quoted where they have to be.
private struct YAMLWriter {
    private(set) var text = ""

    mutating func open(_ depth: Int, _ key: String) { text += Self.indent(depth) + Self.quoted(key) + ":\n" }

    /// A key with a value; nothing for `nil`.
    mutating func line(_ depth: Int, _ key: String, _ value: String?) {
        guard let value else { return }
        text += "\(Self.indent(depth))\(Self.quoted(key)): \(Self.quoted(value))\n"
    }

    /// First key of a list item; the others follow at depth 2.
    mutating func item(_ key: String, _ value: String) { text += "  - \(key): \(Self.quoted(value))\n" }

    /// A list item that is a text.
    mutating func entry(_ depth: Int, _ value: String) {
        text += "\(Self.indent(depth))- \(Self.quoted(value))\n"
    }

    private static func indent(_ depth: Int) -> String { String(repeating: "  ", count: depth) }

    /// A plain scalar when it cannot be taken for anything else, double-quoted otherwise.
    private static func quoted(_ value: String) -> String {
        let isSafe = value.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "/"), UInt8(ascii: "-"),
                UInt8(ascii: "+"),
                UInt8(ascii: " "):
                true
            default: false
            }
        }
        let startsSafely = value.utf8.first.map { $0 != 0x20 && $0 != UInt8(ascii: "-") } ?? false
        let isWord = ["null", "~"].contains(value.lowercased())
        if isSafe, startsSafely, !isWord, value.utf8.last != 0x20 { return value }
        return JSONText.quoted(value)
    }
}
