/// Memory for a number of plain values with one owner: an array without the checks that sharing needs, which
/// cost a fifth of a simulation's time.
///
/// It cannot be copied and its memory never leaves it, so no two owners ever write the same place. Positions are
/// checked in debug builds.
struct OwnedBuffer<Element: BitwiseCopyable>: ~Copyable {
    private let base: UnsafeMutablePointer<Element>
    let count: Int

    init(repeating value: Element, count: Int) {
        base = .allocate(capacity: count)
        base.initialize(repeating: value, count: count)
        self.count = count
    }

    deinit { base.deallocate() }

    subscript(position: Int) -> Element {
        @inline(__always) _read {
            assert(position >= 0 && position < count)
            yield base[position]
        }
        @inline(__always) _modify {
            assert(position >= 0 && position < count)
            yield &base[position]
        }
    }

    /// A larger buffer that begins with this one's values.
    func grown(to count: Int, filledWith value: Element) -> OwnedBuffer {
        precondition(count >= self.count)
        let larger = OwnedBuffer(repeating: value, count: count)
        larger.base.update(from: base, count: self.count)
        return larger
    }
}
