import ChainFormats
import ChainModel
import ChainPlanning
import ChainSimulation

/// What the simulator makes of the very requests of a live run, from measured times of the servers.
package struct LivePrediction: Sendable {
    private let systems: LiveSystems
    private let results: LiveResults

    package init(_ systems: LiveSystems, results: LiveResults) {
        self.systems = systems
        self.results = results
    }

    /// Means in seconds; `nil` for a system that was not profiled or cannot serve.
    package func means(
        _ system: LiveSystem, _ requests: [LiveRequest]
    ) -> (response: Double, wait: Double, service: Double)? {
        guard let times = times(system) else { return nil }
        let routed = requests.map {
            RoutedRequest(
                arrival: $0.arrival, size: .tokens(input: $0.inputTokens, output: $0.outputTokens))
        }
        let pool = routedPool(times)
        let run: RoutedRun
        if let plan = systems.plan(of: system) {
            run = ComposedSystem(pool, chains: plan.chains).run(routed)
        } else {
            let petals = PetalsSystem(
                pool, .init(placement: systems.pool.petalsParameters, retry: .sharedClient))
            guard petals.firstMissingBlock == nil else { return nil }
            run = petals.run(routed)
        }
        let means = run.times(routed)
        return (means.meanResponse, means.meanWait, means.meanService)
    }

    private func routedPool(_ times: [ServerTokenTimes]) -> RoutedPool {
        let servers = systems.pool.servers
        let sites = servers.count + 1
        var roundTrips = [Double](repeating: 0, count: sites * sites)
        for (number, server) in servers.enumerated() {
            // The network is emulated in front of every server, whoever calls it.
            for site in 0..<sites where site != number + 1 {
                roundTrips[site * sites + number + 1] = server.roundTripSeconds
            }
            roundTrips[(number + 1) * sites] = server.roundTripSeconds
        }
        return RoutedPool(
            systems.pool.cluster(times), roundTrips: roundTrips,
            outputTokens: systems.pool.meanTokens.output, tokenTimes: times, initialDelay: 0)
    }

    /// Measured times by tokens. Stock PETALS runs on the servers of the planned one.
    func times(_ system: LiveSystem) -> [ServerTokenTimes]? {
        switch system {
        case .proposed: ownTimes
        case .petals, .jffcOnly, .proposedPetals:
            petalsTimes(
                results.fits[LiveSystem.proposedPetals.rawValue]
                    ?? results.fits[LiveSystem.jffcOnly.rawValue])
        }
    }

    private func petalsTimes(_ fits: [String: LiveStepFit]?) -> [ServerTokenTimes]? {
        guard let fits else { return nil }
        // The ends, embedding and output head, take their time once for every token, whatever the chain.
        let head = headSecondsPerToken / Double(systems.pool.petalsShape.blockCount)
        return systems.pool.servers.map { server in
            guard let fit = fits[server.name] else { return systems.pool.nominalTimes(server) }
            return ServerTokenTimes(
                promptDelay: server.roundTripSeconds + fit.prompt, tokenDelay: fit.step,
                blockConstant: fit.promptBlock - fit.promptBlockToken + head,
                blockPromptToken: fit.promptBlockToken, blockOutputToken: fit.stepBlock + head)
        }
    }

    private var ownProfile: ClusterFile? {
        results.profiles[LiveSystem.proposed.rawValue].flatMap {
            try? ClusterFile.parse($0, file: "profile.yaml")
        }
    }

    /// The orchestrator's own time for a token, as `chainserve profile` measured it; none where it was not.
    private var headSecondsPerToken: Double {
        guard let entry = ownProfile?.profile.first(where: { $0.key == "head_time" }),
            let seconds = Double(entry.value)
        else { return 0 }
        return seconds / max(1, systems.pool.meanTokens.output.rounded())
    }

    /// The profile gives the times of a mean job; the nominal times by tokens are stretched to them.
    private var ownTimes: [ServerTokenTimes]? {
        guard let profile = ownProfile else { return nil }
        let (input, output) = systems.pool.meanTokens
        return systems.pool.servers.map { server in
            let nominal = systems.pool.nominalTimes(server)
            guard let entry = profile.servers.first(where: { $0.name == server.name }),
                let communication = entry.communicationTime, let block = entry.blockTime
            else { return nominal }
            // The profiler's steps need no session opened.
            let opening = server.roundTripSeconds
            let stretch = communication / (nominal.communication(input: input, output: output) - opening)
            let blocks = block / nominal.block(input: input, output: output)
            return ServerTokenTimes(
                promptDelay: opening + (nominal.promptDelay - opening) * stretch,
                tokenDelay: nominal.tokenDelay * stretch, blockConstant: nominal.blockConstant * blocks,
                blockPromptToken: nominal.blockPromptToken * blocks,
                blockOutputToken: nominal.blockOutputToken * blocks)
        }
    }
}
