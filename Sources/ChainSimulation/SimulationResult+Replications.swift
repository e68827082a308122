extension SimulationResult {
    /// Several independent runs as one: means over all jobs, intervals from the means of the runs.
    /// - Precondition: at least two results of the same simulation.
    init(replications results: [SimulationResult]) {
        var merged = results[0]
        for result in results.dropFirst() { merged.add(result) }
        let count = Double(results.count)
        func summary(_ part: KeyPath<SimulationResult, TimeSummary>) -> TimeSummary {
            TimeSummary(
                estimate: Estimate(results.map { $0[keyPath: part].mean }),
                histogram: merged[keyPath: part].histogram)
        }
        merged.response = summary(\.response)
        merged.wait = summary(\.wait)
        merged.service = summary(\.service)
        if let summary = merged.firstToken {
            merged.firstToken = TimeSummary(
                estimate: Estimate(results.compactMap { $0.firstToken?.mean }), histogram: summary.histogram)
        }
        if let summary = merged.interToken {
            merged.interToken = TimeSummary(
                estimate: Estimate(results.compactMap { $0.interToken?.mean }), histogram: summary.histogram)
        }
        if let summary = merged.tokenGaps {
            merged.tokenGaps = TimeSummary(
                estimate: Estimate(results.compactMap { $0.tokenGaps?.mean }), histogram: summary.histogram)
        }
        merged.waitProbability = Estimate(results.map(\.waitProbability.mean))
        merged.degrees = results.count - 1
        merged.replications = results.count
        merged.arrivalRate /= count
        merged.meanJobs /= count
        merged.littleDifference /= count
        for chain in merged.chains.indices { merged.chains[chain].utilisation /= count }
        for server in merged.servers.indices {
            merged.servers[server].cacheUse /= count
            merged.servers[server].meanJobs /= count
        }
        self = merged
    }

    /// Adds counts, histograms and sums; means are divided afterwards.
    private mutating func add(_ other: SimulationResult) {
        completed += other.completed
        failed += other.failed
        refused += other.refused
        retries += other.retries
        events += other.events
        duration += other.duration
        arrivalRate += other.arrivalRate
        response.histogram.merge(other.response.histogram)
        wait.histogram.merge(other.wait.histogram)
        service.histogram.merge(other.service.histogram)
        if let histogram = other.firstToken?.histogram { firstToken?.histogram.merge(histogram) }
        if let histogram = other.interToken?.histogram { interToken?.histogram.merge(histogram) }
        if let histogram = other.tokenGaps?.histogram { tokenGaps?.histogram.merge(histogram) }
        inputTokens += other.inputTokens
        outputTokens += other.outputTokens
        for chain in chains.indices {
            chains[chain].utilisation += other.chains[chain].utilisation
            chains[chain].jobs += other.chains[chain].jobs
        }
        for server in servers.indices {
            servers[server].cacheUse += other.servers[server].cacheUse
            servers[server].meanJobs += other.servers[server].meanJobs
        }
        meanJobs += other.meanJobs
        littleDifference += other.littleDifference
        littleHolds = littleHolds && other.littleHolds
        unstable = unstable ?? other.unstable
        hasMeans = hasMeans && other.hasMeans
        if let met = other.precisionMet { precisionMet = (precisionMet ?? true) && met }
        requests += other.requests
    }
}
