import ChainModel

/// Plans as JSON, the interface for programs.
public enum PlanJSON {
    /// The plan as JSON with full double precision.
    /// - Precondition: `cluster` is the one the plan was made for.
    /// - Parameters:
    ///   - explanation: where the cluster's numbers came from, to be said in the plan too.
    ///   - advice: which dispatch rule is recommended.
    public static func encode(
        _ plan: Plan, cluster: Cluster, explanation: ClusterExplanation? = nil, advice: DispatchAdvice? = nil
    ) -> String {
        var entries = entries(plan, cluster)
        if let advice {
            let values: [(key: String, value: JSONText)] = [
                ("rule", .text(advice.rule.rawValue)), ("gain", .number(advice.gain)),
                ("least_gain", .number(DispatchAdvice.leastGain)),
                ("mean_response_time_jffc", .number(advice.meanResponseTimes.jffc)),
                ("mean_response_time_jffc_wait", .number(advice.meanResponseTimes.thresholds)),
                ("wait_probability_jffc", .number(advice.waitProbabilities.jffc)),
                ("wait_probability_jffc_wait", .number(advice.waitProbabilities.thresholds)),
            ]
            entries.append(("recommended_dispatch", .object(values)))
        }
        if let explanation { entries.append(("explanation", explanation.json)) }
        return JSONText.object(entries).rendered()
    }

    private static func entries(_ plan: Plan, _ cluster: Cluster) -> [(key: String, value: JSONText)] {
        var entries: [(key: String, value: JSONText)] = [
            ("model", .text(plan.modelName)), ("arrival_rate", .number(plan.demand.arrivalRate)),
            ("load_target", .number(plan.demand.loadTarget)),
            ("placement_method", .text(plan.placementMethod.rawValue)),
            ("capacity_parameter", plan.capacityParameter.map { .integer($0) } ?? .null),
            ("tuned_by", plan.tunedBy.map { .text($0.rawValue) } ?? .null),
            ("placement", .list(placement(plan, cluster))),
            ("spare_servers", .list(plan.spareServers.map { .text(cluster[$0].name) })),
            ("chains", .list(plan.chains.map { chain($0, cluster) })),
            ("disjoint_chains", .integer(plan.disjointChains)),
            ("total_capacity", .integer(plan.totalCapacity)),
            ("total_service_rate", .number(plan.totalServiceRate)), ("load", .number(plan.load)),
            ("load_target_met", .bool(plan.loadTargetMet)),
            ("mean_response_time", .object(meanResponse(plan.meanResponseTime))),
            ("mean_waiting_time", .object([("exact", .optional(plan.meanWaitingTime))])),
            ("wait_probability", .object([("exact", .optional(plan.waitProbability))])),
        ]
        entries += spread(plan)
        if let reason = plan.unstable { entries.append(("unstable", .text(reason))) }
        let dispatch: [(key: String, value: JSONText)] = [
            ("rule", .text(plan.dispatch.rule.rawValue)),
            ("thresholds", .list(plan.dispatch.thresholds.map { .integer($0) })),
            ("mean_response_time", .optional(plan.dispatch.meanResponseTime)),
            ("mean_waiting_time", .optional(plan.dispatch.meanWaitingTime)),
            ("wait_probability", .optional(plan.dispatch.waitProbability)),
        ]
        entries.append(("dispatch", .object(dispatch)))
        if let gain = plan.improvement {
            let values: [(key: String, value: JSONText)] = [
                ("mean_response_time_before", .optional(gain.meanResponseTimeBefore)),
                ("changes", .integer(gain.changes)), ("evaluations", .integer(gain.evaluations)),
            ]
            entries.append(("improvement", .object(values)))
        }
        return entries
    }

    private static func meanResponse(_ mean: MeanResponse) -> [(key: String, value: JSONText)] {
        let values: [(key: String, value: JSONText)] = [
            ("lower", .optional(mean.lower)), ("upper", .optional(mean.upper)),
            ("exact", .optional(mean.exact)),
        ]
        return values + (mean.exactError.map { [("exact_error", .number($0))] } ?? [])
    }

    /// Variances and the tail of the wait, as far as they are known.
    private static func spread(_ plan: Plan) -> [(key: String, value: JSONText)] {
        var variance: [(key: String, value: JSONText)] = []
        if let value = plan.spread.responseVariance { variance.append(("response_time", .number(value))) }
        if let value = plan.spread.jobsVariance { variance.append(("jobs", .number(value))) }
        var entries: [(key: String, value: JSONText)] = []
        if !variance.isEmpty { entries.append(("variance", .object(variance))) }
        if let rate = plan.spread.waitDecayRate {
            entries.append(("wait_tail", .object([("decay_rate", .number(rate))])))
        }
        return entries
    }

    private static func placement(_ plan: Plan, _ cluster: Cluster) -> [JSONText] {
        var items: [JSONText] = []
        for (position, range) in plan.placement.ranges.enumerated() {
            guard let range else { continue }
            items.append(
                .object([
                    ("server", .text(cluster.servers[position].name)), ("first_block", .integer(range.first)),
                    ("block_count", .integer(range.count)),
                ]))
        }
        return items
    }

    private static func chain(_ chain: ServerChain, _ cluster: Cluster) -> JSONText {
        .object([
            ("servers", .list(chain.hops.map { .text(cluster[$0.server].name) })),
            ("blocks", .list(chain.hops.map { .integer($0.blockCount) })),
            ("capacity", .integer(chain.capacity)),
            ("service_time", .number(chain.serviceTimeSeconds)),
        ])
    }

    /// A plan read back, with what its names break already.
    public struct Reading: Hashable, Sendable {
        /// Without the entries whose server the cluster does not have.
        public var plan: Plan
        /// Unknown and doubled servers, and a placement out of order.
        public var violations: [PlanViolation]
    }

    /// Reads a plan for a cluster.
    ///
    /// Servers that the cluster does not have are violations, not errors; what is not a plan at all throws.
    /// - Throws: `FormatError` naming the line.
    public static func decode(_ text: String, cluster: Cluster, file: String = "plan.json") throws -> Reading
    {
        let document = try JSONReader.read(text, file: file)
        var decoder = PlanDecoder(cluster: cluster)
        let reading = decoder.plan(document)
        guard let reading, decoder.reader.problems.isEmpty else {
            throw FormatError(file: file, problems: decoder.reader.problems)
        }
        return reading
    }
}
