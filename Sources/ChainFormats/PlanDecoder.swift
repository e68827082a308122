import ChainModel

/// One pass over a plan's JSON; `nil` stands for a value whose problem has been reported.
struct PlanDecoder {
    let cluster: Cluster
    var reader = FieldReader()
    private var violations: [PlanViolation] = []
    private let positions: [String: Int]

    init(cluster: Cluster) {
        self.cluster = cluster
        var positions: [String: Int] = [:]
        for (position, server) in cluster.servers.enumerated() { positions[server.name] = position }
        self.positions = positions
    }

    /// Keys of the interface; files may hold more.
    private static let keys = [
        "model", "arrival_rate", "load_target", "placement_method", "capacity_parameter", "tuned_by",
        "placement",
        "spare_servers", "chains", "disjoint_chains", "total_capacity", "total_service_rate", "load",
        "load_target_met", "mean_response_time", "mean_waiting_time", "wait_probability", "variance",
        "wait_tail", "unstable", "dispatch", "improvement",
    ]

    mutating func plan(_ document: DocumentNode) -> PlanJSON.Reading? {
        guard let top = reader.fields(document, section: "the plan", keys: keys(of: document)) else {
            return nil
        }
        let placement = reader.required(top, "placement", example: "[]").flatMap { self.placement($0) }
        let spare = reader.required(top, "spare_servers", example: "[]").flatMap {
            self.servers($0, "spare_servers")
        }
        let chains = reader.required(top, "chains", example: "[]").flatMap { self.chains($0) }
        let disjoint = integer(top, "disjoint_chains")
        let capacity = integer(top, "total_capacity")
        let rate = number(top, "total_service_rate")
        let load = number(top, "load")
        let met = reader.required(top, "load_target_met", example: "true").flatMap {
            flag($0, "load_target_met")
        }
        let response = object(top, "mean_response_time")
        let waiting = object(top, "mean_waiting_time").flatMap { optionalNumber($0, "exact") }
        let probability = object(top, "wait_probability").flatMap { optionalNumber($0, "exact") }
        let dispatch = dispatch(top, chainCount: chains?.count ?? 0)
        guard let placement, let spare, let chains, let disjoint, let capacity, let rate, let load, let met
        else {
            return nil
        }
        let mean = response.map {
            MeanResponse(
                lower: optionalNumber($0, "lower"), upper: optionalNumber($0, "upper"),
                exact: optionalNumber($0, "exact"), exactError: optionalNumber($0, "exact_error"))
        }
        let variance = object(top, "variance")
        let spread = ResponseSpread(
            responseVariance: variance.flatMap { optionalNumber($0, "response_time") },
            jobsVariance: variance.flatMap { optionalNumber($0, "jobs") },
            waitDecayRate: object(top, "wait_tail").flatMap { optionalNumber($0, "decay_rate") })
        let demand = Demand(
            arrivalRate: optionalNumber(top, "arrival_rate") ?? cluster.demand.arrivalRate,
            loadTarget: optionalNumber(top, "load_target") ?? cluster.demand.loadTarget)
        let plan = Plan(
            modelName: optionalText(top, "model") ?? cluster.model.name, demand: demand,
            placementMethod: choice(top, "placement_method") ?? .gbpCR,
            capacityParameter: reader.optional(top, "capacity_parameter").flatMap {
                integer($0, "capacity_parameter")
            },
            tunedBy: choice(top, "tuned_by"), placement: placement, spareServers: spare, chains: chains,
            disjointChains: disjoint, totalCapacity: capacity, totalServiceRate: rate, load: load,
            loadTargetMet: met,
            meanResponseTime: mean ?? MeanResponse(), meanWaitingTime: waiting, waitProbability: probability,
            spread: spread, unstable: optionalText(top, "unstable"), dispatch: dispatch,
            improvement: improvement(top))
        return PlanJSON.Reading(plan: plan, violations: violations)
    }

    /// Every key of the document: unknown ones are not an error in a file that programs write.
    private func keys(of document: DocumentNode) -> [String] {
        guard case .mapping(let entries) = document.content else { return Self.keys }
        return Self.keys + entries.map(\.key)
    }

    // MARK: Parts

    private mutating func server(_ name: String, _ place: String) -> ServerIndex? {
        if let position = positions[name] { return ServerIndex(position) }
        violations.append(
            PlanViolation(.unknownServer, "\(place) names `\(name)`, which the cluster does not have"))
        return nil
    }

    private mutating func placement(_ node: DocumentNode) -> Placement? {
        guard let items = reader.items(node, section: "placement") else { return nil }
        var placement = Placement(ranges: [BlockRange?](repeating: nil, count: cluster.servers.count))
        var last = -1
        for item in items {
            guard
                let fields = reader.fields(
                    item, section: "placement", keys: ["server", "first_block", "block_count"]),
                let name = reader.required(fields, "server", example: "\"s1\"")
                    .flatMap({ reader.text($0, "server") }),
                let first = integer(fields, "first_block"), let count = integer(fields, "block_count")
            else { continue }
            guard let index = server(name, "placement") else { continue }
            if placement[index] != nil {
                violations.append(PlanViolation(.duplicateServer, "placement lists \(name) twice"))
            } else if index.rawValue < last {
                violations.append(
                    PlanViolation(.placementOrder, "placement lists \(name) out of the cluster's order"))
            }
            last = max(last, index.rawValue)
            placement[index] = BlockRange(first: first, count: count)
        }
        return placement
    }

    private mutating func servers(_ node: DocumentNode, _ section: String) -> [ServerIndex]? {
        guard let items = reader.items(node, section: section) else { return nil }
        return items.compactMap { item in
            reader.text(item, section).flatMap { server($0, section) }
        }
    }

    private mutating func chains(_ node: DocumentNode) -> [ServerChain]? {
        guard let items = reader.items(node, section: "chains") else { return nil }
        return items.compactMap { chain($0) }
    }

    private mutating func chain(_ node: DocumentNode) -> ServerChain? {
        let keys = ["servers", "blocks", "capacity", "service_time"]
        guard let fields = reader.fields(node, section: "chains", keys: keys),
            let names = reader.required(fields, "servers", example: "[]"),
            let servers = servers(names, "a chain"),
            let counts = reader.required(fields, "blocks", example: "[]")
                .flatMap({ reader.items($0, section: "blocks") })?
                .compactMap({ integer($0, "blocks") }),
            let capacity = integer(fields, "capacity"), let time = number(fields, "service_time")
        else { return nil }
        guard case .sequence(let named) = names.content, servers.count == named.count else { return nil }
        guard servers.count == counts.count else {
            reader.report(
                .wrongType, line: node.line,
                "a chain has \(servers.count) servers but \(counts.count) block counts",
                mend: "give one count for each server")
            return nil
        }
        var next = 1
        var hops: [ChainHop] = []
        for (server, count) in zip(servers, counts) {
            hops.append(ChainHop(server: server, firstBlock: next, blockCount: count))
            next += count
        }
        return ServerChain(hops: hops, capacity: capacity, serviceTimeSeconds: time)
    }

    private mutating func dispatch(_ top: Fields, chainCount: Int) -> DispatchPlan {
        let ones = [Int](repeating: 1, count: chainCount)
        guard let fields = object(top, "dispatch") else { return DispatchPlan(rule: .jffc, thresholds: ones) }
        let thresholds = reader.optional(fields, "thresholds").flatMap {
            reader.items($0, section: "thresholds")
        }?
        .compactMap { integer($0, "thresholds") }
        return DispatchPlan(
            rule: choice(fields, "rule") ?? .jffc, thresholds: thresholds ?? ones,
            meanResponseTime: optionalNumber(fields, "mean_response_time"),
            meanWaitingTime: optionalNumber(fields, "mean_waiting_time"),
            waitProbability: optionalNumber(fields, "wait_probability"))
    }

    private mutating func improvement(_ top: Fields) -> PlanImprovement? {
        guard let fields = object(top, "improvement"), let changes = integer(fields, "changes"),
            let evaluations = integer(fields, "evaluations")
        else { return nil }
        return PlanImprovement(
            meanResponseTimeBefore: optionalNumber(fields, "mean_response_time_before"), changes: changes,
            evaluations: evaluations)
    }

    // MARK: Values

    private static let largestInteger = 1 << 48

    private mutating func integer(_ node: DocumentNode, _ what: String) -> Int? {
        reader.integer(node, what, in: -Self.largestInteger...Self.largestInteger)
    }

    private mutating func integer(_ fields: Fields, _ key: String) -> Int? {
        reader.required(fields, key, example: "1").flatMap { integer($0, key) }
    }

    private mutating func number(_ node: DocumentNode, _ what: String) -> Double? {
        if case .scalar(let text) = node.content, let value = Double(text), value.isFinite { return value }
        reader.report(.invalidNumber, line: node.line, "\(what) is \(node.kind)", mend: "write a number")
        return nil
    }

    private mutating func number(_ fields: Fields, _ key: String) -> Double? {
        reader.required(fields, key, example: "1.0").flatMap { number($0, key) }
    }

    private mutating func optionalNumber(_ fields: Fields, _ key: String) -> Double? {
        reader.optional(fields, key).flatMap { number($0, key) }
    }

    private mutating func optionalText(_ fields: Fields, _ key: String) -> String? {
        reader.optional(fields, key).flatMap { reader.text($0, key) }
    }

    private mutating func flag(_ node: DocumentNode, _ what: String) -> Bool? {
        if case .scalar(let text) = node.content, text == "true" || text == "false" { return text == "true" }
        reader.report(.wrongType, line: node.line, "\(what) is \(node.kind)", mend: "write true or false")
        return nil
    }

    /// A mapping that may be absent.
    private mutating func object(_ top: Fields, _ key: String) -> Fields? {
        guard let node = reader.optional(top, key) else { return nil }
        return reader.fields(node, section: key, keys: keys(of: node))
    }

    private mutating func choice<Choice: RawRepresentable & CaseIterable>(_ fields: Fields, _ key: String)
        -> Choice?
    where Choice.RawValue == String {
        guard let text = optionalText(fields, key) else { return nil }
        if let value = Choice(rawValue: text) { return value }
        reader.report(
            .unknownName, line: fields.line(of: key), "unknown \(key) `\(text)`",
            mend: "write one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
        return nil
    }
}
