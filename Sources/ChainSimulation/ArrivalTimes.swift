extension ArrivalProcess {
    /// The times of the first `count` arrivals, nanoseconds; fewer where a trace ends before.
    ///
    /// The same as those of a simulation with this seed. A closed loop has no times of its own: none.
    package func times(count: Int, seed: UInt64) -> [Int64] {
        if case .closedLoop = self { return [] }
        var source = ArrivalSource(self, seed: seed, replication: 0)
        var times: [Int64] = []
        times.reserveCapacity(count)
        while times.count < count, source.next != .max {
            times.append(source.next)
            source.advance()
        }
        return times
    }
}
