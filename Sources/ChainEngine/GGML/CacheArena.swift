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
    private var free: [Int]

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
        free = Array((0..<unitCount).reversed())
    }

    deinit { ggml_backend_buffer_free(buffer) }

    var freeCount: Int { free.count }
    var usedCount: Int { unitCount - free.count }

    /// Takes `count` units, lowest numbers first when fresh.
    /// - Precondition: `count <= freeCount`.
    func take(_ count: Int) -> [Int] {
        let taken = Array(free.suffix(count).reversed())
        free.removeLast(count)
        return taken
    }

    func giveBack(_ units: [Int]) { free.append(contentsOf: units.reversed()) }
}
