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

    /// Share of each server's cache slots that jobs held, by interval of a timeline; 0 for a server without any.
    package func cacheUse(over timeline: OccupancyTimeline) -> [[Double]] {
        var use = Array(repeating: Array(repeating: 0.0, count: timeline.count), count: serverCount)
        for (number, chain) in chains.enumerated() {
            for (server, blocks) in zip(chain.servers, chain.blocks) where cacheSlots[server.rawValue] > 0 {
                let share = Double(blocks) / Double(cacheSlots[server.rawValue])
                for interval in 0..<timeline.count {
                    use[server.rawValue][interval] += timeline.running(on: number, in: interval) * share
                }
            }
        }
        return use
    }

    /// Share of all servers' cache slots that jobs held, by interval of a timeline.
    package func poolCacheUse(over timeline: OccupancyTimeline) -> [Double] {
        let total = Double(cacheSlots.reduce(0, +))
        guard total > 0 else { return Array(repeating: 0, count: timeline.count) }
        return (0..<timeline.count).map { interval in
            chains.indices.reduce(0) {
                $0 + timeline.running(on: $1, in: interval) * Double(chains[$1].blocks.reduce(0, +)) / total
            }
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
        guard !arrivals.isTrace, let load, load >= 1 else { return nil }
        let rounded = (load * 1000).rounded() / 1000
        return "the load is \(rounded): jobs arrive faster than the chains can serve them"
    }
}
