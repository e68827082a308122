import ChainEngine
import ChainModel
import ChainPlanning

/// A plan from what is left of a cluster.
package enum Recomposition {
    /// Spare servers take over the ranges of lost ones, as long as they have room for them: then nobody else loads
    /// anything. Where that is not enough, or leaves blocks without a server, the rest is composed anew.
    /// - Returns: `nil` when no plan is possible.
    package static func plan(
        _ cluster: Cluster, present: Plan, excluding lost: [ServerIndex], options: PlanningOptions
    ) -> Plan? {
        var left = cluster
        for server in lost { left.servers[server.rawValue].memory = .zero }
        if let kept = withSpares(left, present: present, lost: lost, options: options) { return kept }
        left.manualPlacement = Placement(ranges: Array(repeating: nil, count: left.servers.count))
        return try? Planner.plan(left, options: options)
    }

    private static func withSpares(
        _ cluster: Cluster, present: Plan, lost: [ServerIndex], options: PlanningOptions
    ) -> Plan? {
        var ranges = present.placement.ranges
        var spares = ranges.indices.filter { ranges[$0] == nil && !lost.contains(ServerIndex($0)) }
        for server in lost {
            guard let range = ranges[server.rawValue] else { continue }
            ranges[server.rawValue] = nil
            // The one that fits most closely leaves the larger ones for larger ranges; ties: the first.
            let size = cluster.model.blockSize * range.count + cluster.model.cacheSize * range.count
            let fitting = spares.filter { cluster.blockMemory(of: ServerIndex($0)) >= size }
            let best = fitting.min {
                (cluster.servers[$0].memory, $0) < (cluster.servers[$1].memory, $1)
            }
            guard let best else { continue }
            ranges[best] = range
            spares.removeAll { $0 == best }
        }
        var cluster = cluster
        cluster.manualPlacement = Placement(ranges: ranges)
        var options = options
        options.placement = .manual
        guard ranges.contains(where: { $0 != nil }) else { return nil }
        return try? Planner.plan(cluster, options: options)
    }
}
