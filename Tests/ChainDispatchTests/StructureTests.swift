import ChainModel
import Testing

@testable import ChainDispatch

@Suite struct JobTableTests {
    /// Numbers that follow each other, that share low bits, and that are far apart, against a dictionary.
    @Test(arguments: [UInt64(1), 1 << 20, 0x0123_4567_89AB_CDEF])
    func matchesADictionary(stride: UInt64) {
        var random = SplitMix(seed: stride)
        var table = JobTable()
        var reference: [JobID: JobSlot] = [:]
        for _ in 0..<20_000 {
            let id = JobID(UInt64.random(in: 0..<200, using: &random) &* stride)
            if let slot = reference[id] {
                #expect(table.find(id) == slot)
                #expect(table[slot].id == id)
                table.remove(slot)
                reference[id] = nil
            } else {
                #expect(table.find(id) == .none)
                reference[id] = table.insert(id, at: .origin)
            }
            #expect(table.count == reference.count)
        }
        #expect(Set(reference.values).count == reference.count)
        for (id, slot) in reference { #expect(table.find(id) == slot) }
        #expect(table.records.count <= 200)
    }

    @Test func listsInsertAndRemoveAnywhere() {
        var random = SplitMix(seed: 7)
        var table = JobTable()
        var list = JobList()
        var reference: [JobSlot] = []
        for number in 0..<3000 {
            if reference.count < 20 && Bool.random(using: &random) {
                let slot = table.insert(JobID(UInt64(number)), at: .origin)
                let position = Int.random(in: 0...reference.count, using: &random)
                table.insert(
                    slot, before: position < reference.count ? reference[position] : .none, in: &list)
                reference.insert(slot, at: position)
            } else if let position = reference.indices.randomElement(using: &random) {
                let slot = reference.remove(at: position)
                table.remove(slot, from: &list)
                table.remove(slot)
            }
            #expect(table.slots(of: list) == reference)
            #expect(list.count == reference.count)
            #expect(list.last == reference.last ?? .none)
        }
    }
}

@Suite struct ChainSetTests {
    /// Sizes about those of a word and of a summary word.
    @Test(arguments: [0, 1, 63, 64, 65, 1000, 4095, 4096, 4097, 9000])
    func matchesASet(count: Int) {
        var random = SplitMix(seed: UInt64(count))
        var set = ChainSet(count: count)
        var reference: Set<Int> = []
        #expect(set.first == nil)
        guard count > 0 else { return }
        for _ in 0..<400 {
            let member = Int.random(in: 0..<count, using: &random)
            if Int.random(in: 0..<3, using: &random) == 0 {
                set.insert(member)
                reference.insert(member)
            } else {
                let removed = reference.min() ?? member
                set.remove(removed)
                reference.remove(removed)
            }
            #expect(set.first == reference.min())
            #expect(set.contains(member) == reference.contains(member))
        }
    }
}
