extension SimulatedSystem {
    /// What chains' use means for their servers.
    func serverUse(_ chains: [ChainUse]) -> [ServerUse] {
        var slots = Array(repeating: 0.0, count: serverCount)
        var jobs = Array(repeating: 0.0, count: serverCount)
        for (chain, use) in zip(self.chains, chains) {
            let running = use.utilisation * Double(chain.capacity)
            for (server, blocks) in zip(chain.servers, chain.blocks) {
                slots[server.rawValue] += running * Double(blocks)
                jobs[server.rawValue] += running
            }
        }
        return (0..<serverCount).map {
            let total = Double(cacheSlots[$0])
            return ServerUse(cacheUse: total > 0 ? slots[$0] / total : 0, meanJobs: jobs[$0])
        }
    }

    /// Total service rate for a law of sizes, jobs per second: `ν`, or with token times what they make of the
    /// mean request.
    package func totalRate(for sizes: JobSizes) -> Double {
        guard let mean = sizes.meanTokens, let tokenTimes else { return totalRate }
        return zip(chains, tokenTimes).reduce(0) { sum, pair in
            let (chain, times) = pair
            let time =
                times.overhead + times.perInputToken * mean.input
                + times.perOutputToken * (mean.output - 1)
            return sum + Double(chain.capacity) / time
        }
    }
}

extension Simulation {
    /// Offered load `λ/ν`; `nil` for a closed loop.
    package var load: Double? { arrivals.meanRate.map { $0 / system.totalRate(for: sizes) } }

    /// Why there can be no steady state, if so. A trace ends: it has means whatever its load.
    var overload: String? {
        if case .times = arrivals { return nil }
        guard let load, load >= 1 else { return nil }
        let rounded = (load * 1000).rounded() / 1000
        return "the load is \(rounded): jobs arrive faster than the chains can serve them"
    }
}
