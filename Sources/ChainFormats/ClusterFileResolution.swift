import ChainModel

/// Times for servers that have not been profiled yet.
public struct ServerTimes: Hashable, Sendable {
    /// `τc`, seconds.
    public var communicationTime: Double
    /// `τp`, seconds.
    public var blockTime: Double

    public init(communicationTime: Double, blockTime: Double) {
        self.communicationTime = communicationTime
        self.blockTime = blockTime
    }
}

extension ClusterFile {
    /// Everything looked up: the model's shape, times of devices and round trips, positions of names.
    ///
    /// - Parameters:
    ///   - defaultTimes: for servers that have no times yet; without it they are an error.
    ///   - shape: reads the shape of a model file; called once, only when the file names one, with its path made
    ///     relative to the working folder.
    /// - Throws: `FormatError`, and whatever `shape` throws.
    public func resolve(
        defaultTimes: ServerTimes? = nil, shape: (GGUFReference) throws -> ModelShape
    ) throws -> Cluster {
        let model: ModelShape
        switch self.model {
        case .shape(let given): model = given
        case .gguf(var reference):
            reference.path = path(reference.path)
            model = try shape(reference)
        }
        var problems: [FormatProblem] = []
        var servers: [Server] = []
        for entry in self.servers {
            guard let times = times(of: entry, model, defaults: defaultTimes) else {
                problems.append(missingTimes(entry, model))
                continue
            }
            let memory = entry.memory ?? entry.device.flatMap { DeviceCatalogue.device(named: $0)?.memory }
            servers.append(
                Server(
                    name: entry.name, memory: memory ?? .zero,
                    communicationTimeSeconds: times.communicationTime,
                    blockTimeSeconds: times.blockTime, address: entry.address,
                    advertisedRates: entry.advertisedRates))
        }
        guard problems.isEmpty else { throw FormatError(file: file.name, problems: problems) }
        var cluster = Cluster(
            model: model, demand: Demand(arrivalRate: demand.arrivalRate, loadTarget: demand.loadTarget),
            servers: servers)
        problems = place(&cluster)
        if problems.isEmpty, let problem = misfit(cluster) { problems.append(problem) }
        guard problems.isEmpty else { throw FormatError(file: file.name, problems: problems) }
        return cluster
    }

    /// A path of the file, relative to the working folder instead of the file's.
    public func path(_ written: String) -> String {
        written.hasPrefix("/") ? written : file.folder + written
    }

    /// What was assumed or is of no use, for people; empty in the best case.
    public func notes(for cluster: Cluster) -> [String] {
        var notes: [String] = []
        if blockOperations == nil, cluster.model.blockOperations == nil,
            servers.contains(where: { $0.blockTime == nil && $0.device != nil })
        {
            notes.append(
                "times from `device` assume four-bit weights, two operations for each parameter and token; give "
                    + "model.block_operations to say it exactly")
        }
        let each = cluster.model.blockSize + cluster.model.cacheSize
        for (position, server) in cluster.servers.enumerated()
        where cluster.manualPlacement.ranges[position] == nil {
            let memory = cluster.blockMemory(of: ServerIndex(position))
            guard memory < each else { continue }
            notes.append(
                "server \(server.name) is not used: its memory is too small for one block and the cache of one job "
                    + "(\((each - memory).exactText) missing)")
        }
        return notes
    }

    // MARK: Times

    private func times(of entry: ServerEntry, _ model: ModelShape, defaults: ServerTimes?) -> ServerTimes? {
        guard let block = blockTime(of: entry, model)?.value ?? defaults?.blockTime,
            let communication = communicationTime(of: entry, model)?.value ?? defaults?.communicationTime
        else { return nil }
        return ServerTimes(communicationTime: communication, blockTime: block)
    }

    private func missingTimes(_ entry: ServerEntry, _ model: ModelShape) -> FormatProblem {
        if entry.communicationTime == nil, entry.roundTripTime != nil, entry.bandwidth != nil,
            model.hiddenSize == nil || demand.meanInputTokens == nil
        {
            return FormatProblem(
                .missingKey, line: entry.position.line,
                "the communication time of server \(entry.name) from its bandwidth depends on what a job sends",
                mend:
                    "add `hidden_size` to `model` and `mean_input_tokens` to `demand`, or remove `bandwidth`")
        }
        let missing = entry.blockTime == nil && entry.device == nil ? "block_time" : "communication_time"
        return FormatProblem(
            .missingTimes, line: entry.position.line, "server \(entry.name) has no \(missing) yet",
            mend: "run `chainserve profile`, which measures it, or write `\(missing): SECONDS`")
    }

    // MARK: Placement and fit

    private func place(_ cluster: inout Cluster) -> [FormatProblem] {
        var problems: [FormatProblem] = []
        var positions: [String: Int] = [:]
        for (position, server) in servers.enumerated() { positions[server.name] = position }
        for entry in placement {
            guard let position = positions[entry.server] else { continue }
            let model = cluster.model
            if entry.range.first > model.blockCount
                || entry.range.count > model.blockCount - entry.range.first + 1
            {
                problems.append(
                    FormatProblem(
                        .outOfRange, line: entry.position.line,
                        "placement of \(entry.server) reaches block \(entry.range.end - 1)",
                        mend:
                            "the model has blocks 1 to \(model.blockCount): change first_block or block_count"
                    ))
                continue
            }
            let fits = cluster.blockMemory(of: ServerIndex(position)).wholeUnits(of: model.blockSize)
            if entry.range.count > fits {
                problems.append(
                    FormatProblem(
                        .outOfRange, line: entry.position.line,
                        "placement of \(entry.server): \(entry.range.count) blocks do not fit into its memory",
                        mend: "give it at most \(fits) blocks, or more memory"))
                continue
            }
            cluster.manualPlacement.ranges[position] = entry.range
        }
        return problems
    }

    /// Most servers that a message names.
    private static let mostNamed = 5

    /// `Σ m_j(1) < L`: the pool cannot hold the model with room for one job. Ranges fixed by hand count in full.
    private func misfit(_ cluster: Cluster) -> FormatProblem? {
        let model = cluster.model
        let each = model.blockSize + model.cacheSize
        var placeable = 0
        for position in cluster.servers.indices {
            let fits = cluster.blockMemory(of: ServerIndex(position)).wholeUnits(of: each)
            placeable += cluster.manualPlacement.ranges[position]?.count ?? min(fits, model.blockCount)
        }
        guard placeable < model.blockCount else { return nil }
        let missing = model.blockCount - placeable
        var mend = "add servers or raise `memory`, by \((each * missing).exactText) at least"
        let small = cluster.servers.indices.filter { cluster.blockMemory(of: ServerIndex($0)) < each }
        if small.count == cluster.servers.count {
            mend += "; every server is too small for one block and one job's cache (\(each.exactText))"
        } else if !small.isEmpty {
            let names = small.prefix(Self.mostNamed).map { cluster.servers[$0].name }
            mend +=
                "; too small for one block and one job's cache (\(each.exactText)): "
                + names.joined(separator: ", ")
                + (small.count > names.count ? " and \(small.count - names.count) more" : "")
        }
        return FormatProblem(
            .modelDoesNotFit, line: serversPosition.line,
            "the pool cannot hold the model: with the cache of one job each, \(placeable) of \(model.blockCount) blocks fit",
            mend: mend)
    }
}

extension ServerEntry {
    /// Both rates of the PETALS baseline; a network rate left out is no limit.
    fileprivate var advertisedRates: Server.AdvertisedRates? {
        forwardRate.map { Server.AdvertisedRates(forward: $0, network: networkRate ?? .infinity) }
    }
}
