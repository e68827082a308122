import ChainModel

/// What holds between events, derived anew from servers and jobs and compared with what is kept.
extension Dispatcher {
    /// Traps if an invariant is broken. O(J + K·H + n) for `J` servers, `K` chains of `H` servers, `n` jobs.
    ///
    /// Debug builds check every state of small systems after each event, and a sample of those of large ones.
    public func checkInvariants() {
        checkChains()
        checkQueue()
        precondition(
            occupancy.reduce(queue.count) { $0 + $1.running.count } == jobs.count,
            "A job neither waits nor runs, or does both.")
        precondition(phase != .drained || jobs.count == 0, "A drain ended with jobs left.")
    }

    private func checkChains() {
        var available = 0
        var recoverable = 0
        var rate = 0.0
        var fastest = chains.count
        for chain in chains.indices.reversed() {
            let states = chains[chain].servers.map { servers[$0.rawValue] }
            let place = occupancy[chain]
            precondition(place.missing == states.count { $0 != .ready }, "Missing servers miscounted.")
            precondition(
                place.gone == states.count { $0 == .lost(returning: false) }, "Gone servers miscounted.")
            precondition(place.running.count <= chains[chain].capacity, "A chain exceeds its capacity.")
            precondition(place.isAvailable || place.running.isEmpty, "A job runs on an unavailable chain.")
            precondition(
                open.contains(chain) == (place.isAvailable && place.running.count < place.capacity),
                "The set of open chains is wrong.")
            checkList(place.running, chain: Int32(chain))
            recoverable += place.isRecoverable ? 1 : 0
            if place.isAvailable {
                available += 1
                fastest = chain
                rate += slotRate(of: chain)
            }
        }
        precondition(available == availableCount, "Available chains miscounted.")
        precondition(recoverable == recoverableCount, "Recoverable chains miscounted.")
        precondition(fastest == fastestAvailable, "The fastest available chain is wrong.")
        precondition(rate == availableRate, "The available rate is wrong.")
    }

    private func checkQueue() {
        checkList(queue, chain: -1)
        let waiting = jobs.slots(of: queue).map { jobs[$0] }
        precondition(
            zip(waiting, waiting.dropFirst()).allSatisfy { $0.id < $1.id },
            "The queue is not in order of arrival.")
        precondition(newcomerCount == waiting.count { $0.attempts == 0 }, "Newcomers miscounted.")
        precondition(newcomerCount <= configuration.queueLimit, "The queue exceeds its limit.")
        precondition(waiting.isEmpty || recoverableCount > 0, "Jobs wait for chains that cannot return.")
        // Work conservation: under jffc, no free slot while a job waits.
        precondition(
            waiting.isEmpty || chainForHead(waiting: waiting.count) == nil,
            "The head waits beside a free slot.")
    }

    /// Links, counts, and that every member can be found and has the attempts its place allows.
    private func checkList(_ list: JobList, chain: Int32) {
        var previous = JobSlot.none
        var count = 0
        var slot = list.first
        while slot != .none {
            let record = jobs[slot]
            precondition(record.previous == previous, "A list's backward link is broken.")
            precondition(record.chain == chain, "A job is on the list of a chain it does not run on.")
            precondition(jobs.find(record.id) == slot, "A job cannot be found.")
            precondition(lastArrival.map { record.id <= $0 } ?? false, "A job never arrived.")
            let attempts =
                chain < 0 ? 0...configuration.maximumAttempts - 1 : 1...configuration.maximumAttempts
            precondition(attempts.contains(Int(record.attempts)), "A job's attempts exceed the bound.")
            previous = slot
            count += 1
            slot = record.next
        }
        precondition(list.last == previous, "A list's end is wrong.")
        precondition(list.count == count, "A list is miscounted.")
    }
}
