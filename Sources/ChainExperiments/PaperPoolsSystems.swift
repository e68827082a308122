import ChainModel
import ChainPlanning
import ChainSimulation

/// Whose choices a comparison is made with.
package enum PaperSetting: String, CaseIterable, Hashable, Sendable {
    /// The paper's stated parameters; baselines as their papers describe them.
    case published
    /// What the authors' programs did.
    case asCoded = "as-coded"
    /// As published, with the baselines at their best.
    case fair
}

/// A system of the published comparison, in one of the variants that exist of it.
package enum ComparedSystem: Hashable, Sendable {
    /// - Parameters:
    ///   - smallServerLimit: Most blocks of a small server; the program of figure 6 has 4, left over from servers
    ///     half the size.
    ///   - asap: Start when the slots are free, not when the estimates say so too.
    case petals(
        PetalsParameters.Selection, smallServerLimit: Int? = nil, retry: PetalsSystem.Retry = .none,
        asap: Bool = false)
    /// - Parameter codedLoad: The program's design load, instead of the one published.
    case bprr(codedLoad: Bool, BPRRSystem.WaitEstimate, asap: Bool = false)
    /// Chains of Algorithms 1 and 2, dispatched by JFFC.
    case proposed(PlanningOptions.Capacity)
    /// The proposed system with the servers put to work that Algorithm 1 leaves unused.
    ///
    /// - Parameter search: Also improve the placement by local search, which takes seconds for 40 servers.
    case improved(search: Bool)
    /// The authors' program for figure 6, with its own placement, allocation, choice of `c` and queue.
    case proposedAsCoded
    /// JFFC over servers that hold the whole model each.
    case jffcOnly

    /// A name for columns.
    package var name: String {
        switch self {
        case .petals(let selection, let limit, let retry, let asap):
            var name = "petals"
            if selection == .sum { name += "-sum" }
            if let limit { name += "-cap\(limit)" }
            if retry == .backoff { name += "-backoff" }
            if retry == .client { name += "-client" }
            if retry == .sharedClient { name += "-shared-client" }
            return asap ? name + "-asap" : name
        case .bprr(let codedLoad, let estimate, let asap):
            var name = "bprr"
            if codedLoad { name += "-coded-load" }
            if estimate == .loadShare { name += "-load-share" }
            return asap ? name + "-asap" : name
        case .proposed(.fixed(let capacity)): return "proposed-c\(capacity)"
        case .proposed(.tuned(let criterion)): return "proposed-\(criterion.rawValue)"
        case .improved(let search): return search ? "improved" : "all-servers"
        case .proposedAsCoded: return "proposed-as-coded"
        case .jffcOnly: return "jffc-only"
        }
    }

    /// The same in the words of a table for people.
    package var title: String {
        switch self {
        case .petals(let selection, let limit, let retry, let asap):
            var notes: [String] = []
            if selection == .sum { notes.append("windows by their sum") }
            if let limit { notes.append("at most \(limit) blocks on a small server") }
            if retry == .backoff { notes.append("with back-off") }
            if retry == .client { notes.append("its own client, which reroutes") }
            if retry == .sharedClient { notes.append("one client for all, which reroutes") }
            if asap { notes.append("starts as soon as it can") }
            return Self.title("PETALS", notes)
        case .bprr(let codedLoad, let estimate, let asap):
            var notes: [String] = []
            if codedLoad { notes.append("design load as coded") }
            if estimate == .loadShare { notes.append("wait as coded") }
            if asap { notes.append("starts as soon as it can") }
            return Self.title("BPRR", notes)
        case .proposed(.fixed(let capacity)): return "Proposed (c = \(capacity))"
        case .proposed(.tuned(let criterion)): return "Proposed (c by \(criterion.rawValue))"
        case .improved(let search):
            return search ? "Proposed, all servers used and placement improved" : "Proposed, all servers used"
        case .proposedAsCoded: return "Proposed as coded"
        case .jffcOnly: return "JFFC only"
        }
    }

    private static func title(_ name: String, _ notes: [String]) -> String {
        notes.isEmpty ? name : "\(name) (\(notes.joined(separator: ", ")))"
    }

    /// Which of the four kinds it is: `petals`, `bprr`, `proposed`, `jffc-only`.
    package var family: String {
        switch self {
        case .petals: "petals"
        case .bprr: "bprr"
        case .proposed, .proposedAsCoded, .improved: "proposed"
        case .jffcOnly: "jffc-only"
        }
    }
}

/// What a system made of the requests of one run.
package struct ComparedRun: Hashable, Sendable {
    package var system: ComparedSystem
    /// Times of the requests served; empty when the pool cannot be used.
    package var times = RequestTimes()
    /// Requests given up.
    package var unserved = 0
    /// Why nothing could be served.
    package var infeasible: String?
    /// `c` of the proposed system, `|R|` of BPRR.
    package var capacityParameter: Int?
    /// Chains, for systems that compose them.
    package var chainCount: Int?
    /// `ρ = λ/ν` of the chains.
    package var load: Double?

    /// Whether the means depend on how many requests were counted: the load is at least one, or the waits
    /// say so (`RequestTimes.isUnstable`).
    package var isUnstable: Bool { infeasible == nil && ((load ?? 0) >= 1 || times.isUnstable()) }
}

extension PaperPool {
    /// The pool for systems that route per request.
    package var routed: RoutedPool {
        RoutedPool(
            cluster, roundTrips: roundTrips, outputTokens: model.outputTokens, tokenTimes: tokenTimes)
    }

    /// Sets a system up on this pool and gives it the requests.
    ///
    /// - Parameter joinSeed: Of the random order in which PETALS servers join.
    package func serve(_ requests: [RoutedRequest], by system: ComparedSystem, joinSeed: UInt64)
        -> ComparedRun
    {
        switch system {
        case .petals(let selection, let limit, let retry, let asap):
            let placement = petalsPlacement(selection, smallServerLimit: limit, joinSeed: joinSeed)
            let petals = PetalsSystem(
                routed, .init(placement: placement, retry: retry, startsAsSoonAsPossible: asap))
            return served(system, requests, missing: petals.firstMissingBlock) { petals.run(requests) }
        case .bprr(let codedLoad, let estimate, let asap):
            let load: BPRRSystem.DesignLoad = codedLoad ? .coded(isHigh: isHigh) : .offline
            let bprr = BPRRSystem(
                routed, .init(designLoad: load, waitEstimate: estimate, startsAsSoonAsPossible: asap))
            var run = served(system, requests, missing: bprr.firstMissingBlock) { bprr.run(requests) }
            run.capacityParameter = bprr.designLoad
            return run
        case .proposed(let capacity):
            return composed(system, requests, PlanningOptions(capacity: capacity))
        case .improved(let search):
            return composed(system, requests, PlanningOptions(useAllServers: true, improve: search))
        case .jffcOnly:
            return composed(system, requests, PlanningOptions(placement: .wholeModel))
        case .proposedAsCoded:
            return servedAsCoded(requests)
        }
    }

    private func petalsPlacement(
        _ selection: PetalsParameters.Selection, smallServerLimit: Int?, joinSeed: UInt64
    ) -> PetalsParameters {
        var generator = PaperStream(seed: joinSeed, .joining)
        let count = isHigh.count
        let order = generator.sample(count, below: count).map { ServerIndex($0) }
        let limits = smallServerLimit.map { limit in
            isHigh.map { $0 ? model.shape.blockCount : limit }
        }
        return PetalsParameters(
            selection: selection, blockSize: model.petalsBlock, cacheSize: model.petalsCache,
            reserve: model.petalsReserve, blockLimits: limits, joinOrder: order)
    }

    private func served(
        _ system: ComparedSystem, _ requests: [RoutedRequest], missing: Int?, _ run: () -> RoutedRun
    ) -> ComparedRun {
        if let missing {
            return ComparedRun(system: system, infeasible: "no server hosts block \(missing)")
        }
        let outcome = run()
        return ComparedRun(system: system, times: outcome.times(requests), unserved: outcome.unserved)
    }

    private func composed(
        _ system: ComparedSystem, _ requests: [RoutedRequest], _ options: PlanningOptions
    ) -> ComparedRun {
        let plan: Plan
        do {
            plan = try Planner.plan(cluster, options: options)
        } catch {
            return ComparedRun(system: system, infeasible: "\(error)")
        }
        let run = ComposedSystem(routed, chains: plan.chains).run(requests)
        return ComparedRun(
            system: system, times: run.times(requests), capacityParameter: plan.capacityParameter,
            chainCount: plan.chains.count, load: plan.load)
    }

    private func servedAsCoded(_ requests: [RoutedRequest]) -> ComparedRun {
        guard let system = ProposalAsCoded(routed) else {
            return ComparedRun(system: .proposedAsCoded, infeasible: "no c reaches the required rate")
        }
        let composition = system.composition
        return ComparedRun(
            system: .proposedAsCoded, times: system.run(requests).times(requests),
            capacityParameter: composition.capacityParameter, chainCount: composition.chains.count,
            load: cluster.demand.arrivalRate / composition.totalServiceRate)
    }
}
