import CGGML
import ChainModel

/// The key-value memory of a block server: one pool of units, allocated and cleared once. A unit is the
/// reserved rows of one block for one job; any unit serves any hosted block.
final class CacheArena {
    /// Keys of all units: `[d_kv, unitCount·rows]`, 16-bit floats.
    let keys: Tensor
    /// Values, shaped as the keys.
    let values: Tensor
    let unitCount: Int
    /// Rows of a unit.
    let rows: Int
    let byteCount: Int
    private let context: GGMLContext
    private let buffer: OpaquePointer
    private var isFree: [Bool]
    private(set) var freeCount: Int

    init(unitCount: Int, rows: Int, width: Int, device: GGMLDevice) throws(EngineError) {
        self.unitCount = unitCount
        self.rows = rows
        context = GGMLContext(tensors: 2)
        let shape = [width, max(1, unitCount) * rows]
        keys = context.tensor(type: GGML_TYPE_F16.rawValue, dimensions: shape)
        values = context.tensor(type: GGML_TYPE_F16.rawValue, dimensions: shape)
        guard let type = device.bufferType,
            let buffer = ggml_backend_alloc_ctx_tensors_from_buft(context.pointer, type)
        else {
            throw .memory("the device has no room for \(unitCount) cache units of \(4 * width * rows) bytes")
        }
        self.buffer = buffer
        // Rows beyond a job's length are read and masked: they must hold finite numbers from the start.
        ggml_backend_buffer_clear(buffer, 0)
        byteCount = ggml_backend_buffer_get_size(buffer)
        isFree = [Bool](repeating: true, count: unitCount)
        freeCount = unitCount
    }

    deinit { ggml_backend_buffer_free(buffer) }

    var usedCount: Int { unitCount - freeCount }

    /// Takes the lowest `count` free units in a row, or the lowest free ones where no such row is left.
    /// - Precondition: `count <= freeCount`.
    /// - Complexity: O(unitCount).
    func take(_ count: Int) -> [Int] {
        var taken: [Int] = []
        var lowest: [Int] = []
        for unit in 0..<unitCount where taken.count < count {
            if isFree[unit] {
                taken.append(unit)
                if lowest.count < count { lowest.append(unit) }
            } else {
                taken.removeAll(keepingCapacity: true)
            }
        }
        if taken.count < count { taken = lowest }
        for unit in taken { isFree[unit] = false }
        freeCount -= count
        return taken
    }

    func giveBack(_ units: [Int]) {
        for unit in units { isFree[unit] = true }
        freeCount += units.count
    }
}
