import ChainFormats
import ChainModel
import ChainPlanning

/// The systems that the live experiment compares.
package enum LiveSystem: String, Hashable, Sendable, CaseIterable {
    case petals
    case jffcOnly = "jffc-only"
    case proposedPetals = "proposed-petals"
    case proposed

    package var title: String {
        switch self {
        case .petals: "PETALS, as it is"
        case .jffcOnly: "JFFC only: whole models, PETALS' engine"
        case .proposedPetals: "Proposed: our plan and JFFC, PETALS' engine"
        case .proposed: "Proposed, our own engine"
        }
    }

    /// What the experiment's runner calls the kind (`spec.py`).
    var kind: String {
        switch self {
        case .petals: "stock"
        case .jffcOnly, .proposedPetals: "pinned"
        case .proposed: "own"
        }
    }

    /// Whether it runs on PETALS servers.
    package var needsPetals: Bool { self != .proposed }
}

/// A run of one system.
package struct LiveRun: Hashable, Sendable {
    package var workload: LiveWorkload
    /// From 0.
    package var number: Int
    package var system: LiveSystem

    package var id: String { "\(workload.rawValue)/\(number + 1)/\(system.rawValue)" }
}

/// The systems set up on a pool: plans, cluster files, and the order of the runs.
package struct LiveSystems: Sendable {
    package let pool: LivePool
    /// Our plan for PETALS' sizes, kept on our own engine.
    package let plan: Plan
    /// Whole models on the servers that can hold one.
    package let wholePlan: Plan

    /// - Throws: `PlanningError` when the pool cannot serve.
    package init(_ pool: LivePool) throws {
        self.pool = pool
        plan = try Planner.plan(pool.cluster(), options: PlanningOptions(useAllServers: true))
        wholePlan = try Planner.plan(pool.cluster(), options: PlanningOptions(placement: .wholeModel))
    }

    package func plan(of system: LiveSystem) -> Plan? {
        switch system {
        case .petals: nil
        case .jffcOnly: wholePlan
        case .proposedPetals, .proposed: plan
        }
    }

    /// Every workload and system once in each repetition, in an order drawn anew for each.
    package var runs: [LiveRun] {
        var runs: [LiveRun] = []
        var random = PaperStream(seed: pool.setting.seed, .joining)
        for number in 0..<pool.setting.runs {
            let all = pool.setting.workloads.flatMap { workload in
                pool.setting.systems.map { LiveRun(workload: workload, number: number, system: $0) }
            }
            runs += random.sample(all.count, below: all.count).map { all[$0] }
        }
        return runs
    }

    // MARK: For the runner

    /// Where things are on this machine.
    package struct Places: Hashable, Sendable {
        package var chainserve: String
        /// Folder in Hugging Face's format.
        package var model: String
        /// The same weights in float32.
        package var gguf: String
        /// Folder for logs and identities.
        package var state: String
        /// File that finished runs are appended to.
        package var results: String

        package init(chainserve: String, model: String, gguf: String, state: String, results: String) {
            self.chainserve = chainserve
            self.model = model
            self.gguf = gguf
            self.state = state
            self.results = results
        }
    }

    /// The name that the experiment serves the model under.
    static let modelName = "live"

    /// What the runner is told: servers, systems and the runs to make.
    package func specification(_ runs: [LiveRun], requests: LiveRequests, places: Places) -> JSONText {
        let setting = pool.setting
        let servers = pool.servers.map { server in
            JSONText.object([
                ("name", .text(server.name)), ("round_trip", .number(server.roundTripSeconds)),
                ("block_time", .number(server.blockTokenSeconds)),
                ("prompt_share", .number(setting.promptShare)),
            ])
        }
        let systems = setting.systems.map { system in
            JSONText.object([
                ("name", .text(system.rawValue)), ("kind", .text(system.kind)),
                ("hosts", .list(hosts(system))), ("cluster", .text(clusterFile(system, places))),
            ])
        }
        let list = runs.map { run in
            JSONText.object([
                ("id", .text(run.id)), ("system", .text(run.system.rawValue)),
                (
                    "requests",
                    .list(
                        requests.run(run.workload, run.number).requests.map {
                            .list([
                                .number($0.arrival), .integer($0.inputTokens), .integer($0.outputTokens),
                            ])
                        })
                ),
            ])
        }
        return .object([
            ("chainserve", .text(places.chainserve)), ("model", .text(places.model)),
            ("gguf", .text(places.gguf)), ("name", .text(Self.modelName)),
            ("blocks", .integer(pool.petalsShape.blockCount)),
            ("width", .integer(pool.ownShape.hiddenSize ?? 0)),
            ("sequence_length", .integer(setting.sequenceLength)), ("state", .text(places.state)),
            ("results", .text(places.results)), ("request_limit", .number(setting.requestLimit)),
            ("sessions", .integer(setting.petalsSessions)), ("servers", .list(servers)),
            ("systems", .list(systems)), ("runs", .list(list)),
        ])
    }

    /// A planned server of a system: its range, and the cache units that the orchestrator will count on.
    private func planned(_ system: LiveSystem) -> [(server: Int, range: BlockRange, units: Int)] {
        guard let plan = plan(of: system) else { return [] }
        let cluster = pool.cluster()
        return pool.servers.indices.compactMap { number in
            let server = ServerIndex(number)
            guard let range = plan.placement[server], plan.reservedSlots(of: server) > 0 else { return nil }
            return (number, range, cluster.cacheSlots(of: server, hosting: range.count))
        }
    }

    private func hosts(_ system: LiveSystem) -> [JSONText] {
        if system == .petals {
            return pool.servers.enumerated().map { number, server in
                .object([("server", .integer(number)), ("count", .integer(pool.petalsBlocks(server)))])
            }
        }
        return planned(system).map { host in
            .object([
                ("server", .integer(host.server)), ("count", .integer(host.range.count)),
                ("first", .integer(host.range.first)), ("units", .integer(host.units)),
                ("memory", .integer(memory(system, host.server, host.range, host.units).rawValue)),
            ])
        }
    }

    /// On our own engine the memory for just the planned blocks and units: its caches take half of PETALS',
    /// and more of them would be another plan.
    private func memory(_ system: LiveSystem, _ server: Int, _ range: BlockRange, _ units: Int) -> ByteCount {
        guard system == .proposed else { return pool.servers[server].memory }
        let shape = pool.ownShape
        return shape.computeSize + shape.blockSize * range.count + shape.cacheSize * units
    }

    /// The cluster file of a system, with `{NAME}` where a server's address goes.
    func clusterFile(_ system: LiveSystem, _ places: Places) -> String {
        guard plan(of: system) != nil else { return "" }
        let cluster = pool.cluster()
        let isOwn = system == .proposed
        var lines = isOwn ? [] : ["engine: petals"]
        lines.append(
            "model: {name: \(Self.modelName), gguf: \"\(places.gguf)\","
                + " max_sequence_length: \(pool.setting.sequenceLength)}")
        if !isOwn { lines.append("petals: {model: \"\(places.model)\", prefix: \(Self.modelName)}") }
        lines.append(
            "demand: {arrival_rate: \(pool.setting.arrivalRate), load_target: \(LivePool.loadTarget),"
                + " mean_input_tokens: \(pool.meanTokens.input), mean_output_tokens: \(pool.meanTokens.output)}"
        )
        let hosts = planned(system)
        lines.append("servers:")
        for host in hosts {
            let server = cluster.servers[host.server]
            lines.append(
                "  - {name: \(server.name),"
                    + " memory: \(memory(system, host.server, host.range, host.units).rawValue) B,"
                    + " communication_time: \(server.communicationTimeSeconds),"
                    + " block_time: \(server.blockTimeSeconds),"
                    + " \(isOwn ? "address" : "peer"): \"{\(server.name)}\"}")
        }
        lines.append("placement:")
        for host in hosts {
            lines.append(
                "  - {server: \(pool.servers[host.server].name), first_block: \(host.range.first),"
                    + " block_count: \(host.range.count)}")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
