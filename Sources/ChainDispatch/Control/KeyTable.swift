/// Finds numbers by keys: open addressing with linear probing and deletion by shifting back, at most half full.
///
/// The same in every process; memory grows to the most keys held at once and then stays. All O(1) expected.
struct KeyTable: Sendable {
    private var keys: [UInt64]
    /// Negative where there is no key.
    private var values: [Int32]
    private(set) var count = 0
    private var shift: UInt64

    init() {
        keys = Array(repeating: 0, count: 16)
        values = Array(repeating: -1, count: 16)
        shift = 64 - 4
    }

    private func home(of key: UInt64) -> Int { Int((key &* 0x9E37_79B9_7F4A_7C15) >> shift) }

    private func position(of key: UInt64) -> Int {
        var position = home(of: key)
        while values[position] >= 0 && keys[position] != key { position = (position + 1) & (keys.count - 1) }
        return position
    }

    /// The key's number, at least 0; nil removes it.
    subscript(key: UInt64) -> Int? {
        get {
            let value = values[position(of: key)]
            return value < 0 ? nil : Int(value)
        }
        set {
            guard let newValue else { return remove(key) }
            var position = position(of: key)
            if values[position] < 0 {
                if (count + 1) * 2 > keys.count {
                    grow()
                    position = self.position(of: key)
                }
                keys[position] = key
                count += 1
            }
            values[position] = Int32(newValue)
        }
    }

    private mutating func remove(_ key: UInt64) {
        let mask = keys.count - 1
        var hole = position(of: key)
        if values[hole] < 0 { return }
        var position = (hole + 1) & mask
        while values[position] >= 0 {
            let distance = (position - home(of: keys[position])) & mask
            if distance >= (position - hole) & mask {
                keys[hole] = keys[position]
                values[hole] = values[position]
                hole = position
            }
            position = (position + 1) & mask
        }
        values[hole] = -1
        count -= 1
    }

    private mutating func grow() {
        let old = (keys, values)
        keys = Array(repeating: 0, count: old.0.count * 2)
        values = Array(repeating: -1, count: old.0.count * 2)
        shift -= 1
        for (key, value) in zip(old.0, old.1) where value >= 0 {
            let position = position(of: key)
            keys[position] = key
            values[position] = value
        }
    }
}
