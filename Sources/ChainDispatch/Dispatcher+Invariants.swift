import ChainModel

/// What holds between events, derived anew from servers and jobs and compared with what is kept.
extension Dispatcher {
    /// Traps if an invariant is broken. O(J + K·H + n) for `J` servers, `K` chains of `H` servers, `n`
    /// jobs.
    ///
    /// Debug builds check every state of small systems after each event, and a sample of those of large
    /// ones.
    public func checkInvariants() {
        checkChains()
        checkQueue()
        checkRunning()
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
            precondition(place.running <= chains[chain].capacity, "A chain exceeds its capacity.")
            precondition(
                place.resting == chains[chain].servers.count { isResting[$0.rawValue] },
                "Servers at rest miscounted.")
            precondition(place.isIntact || place.running == 0, "A job runs on a broken chain.")
            precondition(
                open.contains(chain) == (place.isAvailable && place.hasFreeSlot),
                "The set of open chains is wrong.")
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
        checkLinks(queue)
        let slots = jobs.slots(of: queue)
        let waiting = slots.map { jobs[$0] }
        for slot in slots {
            checkRecord(slot, chain: JobRecord.waits, attempts: 0..<configuration.maximumAttempts)
        }
        precondition(
            zip(waiting, waiting.dropFirst()).allSatisfy { $0.id < $1.id },
            "The queue is not in order of arrival.")
        precondition(newcomerCount == waiting.count { $0.attempts == 0 }, "Newcomers miscounted.")
        precondition(newcomerCount <= configuration.queueLimit, "The queue exceeds its limit.")
        // Without any plan, jobs wait for the first one.
        precondition(
            waiting.isEmpty || recoverableCount > 0 || chains.isEmpty,
            "Jobs wait for chains that cannot return.")
        // Work conservation: under jffc, no free slot while a job waits.
        precondition(
            waiting.isEmpty || chainForHead(waiting: waiting.count) == nil,
            "The head waits beside a free slot.")
    }

    private func checkRunning() {
        var counts = Array(repeating: 0, count: chains.count)
        let slots = jobs.runningSlots { _ in true }
        for slot in slots {
            let chain = jobs[slot].chain
            counts[Int(chain)] += 1
            checkRecord(slot, chain: chain, attempts: 1..<configuration.maximumAttempts + 1)
        }
        precondition(counts == occupancy.map(\.running), "Running jobs miscounted.")
        precondition(slots.count + queue.count == jobs.count, "A job neither waits nor runs, or does both.")
    }

    private func checkRecord(_ slot: JobSlot, chain: Int32, attempts: Range<Int>) {
        let record = jobs[slot]
        precondition(record.chain == chain, "A waiting job has a chain.")
        precondition(jobs.find(record.id) == slot, "A job cannot be found.")
        precondition(lastArrival.map { record.id <= $0 } ?? false, "A job never arrived.")
        precondition(attempts.contains(record.spent), "A job's attempts exceed the bound.")
        precondition(record.excused >= 0, "A job is excused from attempts that it never made.")
    }

    private func checkLinks(_ list: JobList) {
        var previous = JobSlot.none
        var count = 0
        var slot = list.first
        while slot != .none {
            precondition(jobs[slot].previous == previous, "A list's backward link is broken.")
            previous = slot
            count += 1
            slot = jobs[slot].next
        }
        precondition(list.last == previous, "A list's end is wrong.")
        precondition(list.count == count, "A list is miscounted.")
    }
}
