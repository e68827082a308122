import CoreMetrics

/// The gauges of a pool, set from what is seen of it. Those of servers and chains that are gone go too.
struct PoolGauges {
    private let factory: any MetricsFactory
    private let labels: [(String, String)]
    private var meters: [String: Meter] = [:]
    private var isSeen: Set<String> = []

    init(factory: any MetricsFactory, labels: [(String, String)]) {
        self.factory = factory
        self.labels = labels
    }

    mutating func set(_ sight: PoolSight) {
        isSeen = []
        setPool(sight)
        for server in sight.status.servers { set(server) }
        setChains(sight)
        if let outlook = sight.outlook { set(outlook) }
        for (key, meter) in meters where !isSeen.contains(key) {
            meter.destroy()
            meters[key] = nil
        }
    }

    /// Set once: when the service started, seconds since 1970.
    mutating func setStart(_ seconds: Double) {
        Meter(label: "chainserve_start_time_seconds", dimensions: labels, factory: factory).set(seconds)
    }

    private mutating func setPool(_ sight: PoolSight) {
        let status = sight.status
        let running = status.chains.reduce(0) { $0 + $1.running }
        let used = status.servers.reduce(0) { $0 + $1.slotsUsed }
        let total = status.servers.reduce(0) { $0 + $1.slotsTotal }
        set("vllm:num_requests_running", Double(running))
        set("vllm:num_requests_waiting", Double(status.queueLength))
        set("vllm:kv_cache_usage_perc", total > 0 ? Double(used) / Double(total) : 0)
        set("chainserve_queue_length", Double(status.queueLength))
        set("chainserve_ready", sight.readiness == "ready" ? 1 : 0)
    }

    private mutating func set(_ server: PoolStatus.Server) {
        let label = ("server", server.name)
        set("chainserve_server_cache_slots_used", Double(server.slotsUsed), label)
        set("chainserve_server_cache_slots", Double(server.slotsTotal), label)
        set("chainserve_server_blocks", Double(server.blockCount), label)
        set("chainserve_server_first_block", Double(server.firstBlock), label)
        for state in PoolStatus.ServerState.allCases {
            set("chainserve_server_state", state == server.state ? 1 : 0, label, ("state", state.rawValue))
        }
    }

    /// Chains through the same servers are one series.
    private mutating func setChains(_ sight: PoolSight) {
        var names: [String] = []
        var together: [String: (capacity: Int, running: Int, weighted: Double)] = [:]
        for (index, chain) in sight.status.chains.enumerated() {
            let time = sight.outlook.flatMap {
                $0.serviceTimes.indices.contains(index) ? $0.serviceTimes[index] : nil
            }
            var sum = together[chain.name] ?? (0, 0, 0)
            if together[chain.name] == nil { names.append(chain.name) }
            sum.capacity += chain.capacity
            sum.running += chain.running
            sum.weighted += (time ?? .nan) * Double(chain.capacity)
            together[chain.name] = sum
        }
        for name in names {
            guard let sum = together[name] else { continue }
            set("chainserve_chain_capacity", Double(sum.capacity), ("chain", name))
            set("chainserve_chain_running", Double(sum.running), ("chain", name))
            guard sum.weighted.isFinite, sum.capacity > 0 else { continue }
            set(
                "chainserve_chain_predicted_service_time_seconds", sum.weighted / Double(sum.capacity),
                ("chain", name))
        }
    }

    private mutating func set(_ outlook: PoolOutlook) {
        set("chainserve_plan_number", Double(outlook.planNumber))
        set("chainserve_planned_arrival_rate", outlook.arrivalRate)
        set("chainserve_service_rate", outlook.serviceRate)
        set("chainserve_load_factor", outlook.load)
        for (bound, value) in [
            ("lower", outlook.lowerResponse), ("upper", outlook.upperResponse),
            ("exact", outlook.exactResponse),
        ] {
            if let value { set("chainserve_predicted_response_time_seconds", value, ("bound", bound)) }
        }
        if let wait = outlook.exactWait { set("chainserve_predicted_waiting_time_seconds", wait) }
        if let probability = outlook.waitProbability {
            set("chainserve_predicted_wait_probability", probability)
        }
    }

    private mutating func set(_ label: String, _ value: Double, _ more: (String, String)...) {
        let key = ([label] + more.map { "\($0.0)=\($0.1)" }).joined(separator: "\u{0}")
        isSeen.insert(key)
        let meter =
            meters[key] ?? Meter(label: label, dimensions: labels + more, factory: factory)
        meters[key] = meter
        meter.set(value)
    }
}

extension PoolStatus.Chain {
    /// As people read it, and as a request is told: `s1 > s3`.
    package var name: String { servers.joined(separator: " > ") }
}
