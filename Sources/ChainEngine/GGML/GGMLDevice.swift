import CGGML
import Synchronization

/// A ggml backend bound to one device, with its thread count set. Belongs to one thread at a time.
final class GGMLDevice {
    /// `ggml_backend_t`.
    let backend: OpaquePointer
    /// `ggml_backend_dev_t`.
    let device: OpaquePointer
    let name: String
    /// `ggml_threadpool *`; `nil` with one thread, or on a device that computes by itself.
    private var threadPool: OpaquePointer?

    /// Loads ggml's backends once per process and silences its log: what matters comes back as errors.
    private static let prepared: Void = {
        ggml_log_set({ _, _, _ in }, nil)
        ggml_backend_load_all()
    }()

    /// Names of the devices that ggml has here, for instance `CPU`, `CUDA0`, `Metal`.
    static var available: [String] {
        _ = prepared
        return (0..<ggml_backend_dev_count()).map {
            String(cString: ggml_backend_dev_name(ggml_backend_dev_get($0)))
        }
    }

    /// - Parameter wanted: a device's name (upper and lower case alike), `cpu`, or `auto`: the best GPU,
    ///   else the CPU.
    /// - Throws: `EngineError.device` when there is no such device.
    init(wanted: String, threads: Int) throws(EngineError) {
        _ = Self.prepared
        let found: OpaquePointer?
        switch wanted.lowercased() {
        case "auto":
            found =
                ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU)
                ?? ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)
        case "cpu": found = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)
        default:
            found = (0..<ggml_backend_dev_count()).lazy.compactMap { ggml_backend_dev_get($0) }
                .first { String(cString: ggml_backend_dev_name($0)).lowercased() == wanted.lowercased() }
        }
        guard let found, let backend = ggml_backend_dev_init(found, nil) else {
            throw .device(
                "device '\(wanted)' is not here; choose one of: auto,"
                    + " \(Self.available.joined(separator: ", "))"
            )
        }
        device = found
        self.backend = backend
        name = String(cString: ggml_backend_dev_name(found))
        setThreads(threads)
    }

    deinit {
        ggml_backend_free(backend)
        typealias FreePool = @convention(c) (OpaquePointer?) -> Void
        if let threadPool, let free = function("ggml_threadpool_free", as: FreePool.self) { free(threadPool) }
    }

    /// Sets the number of threads and gives the backend a pool of them: without OpenMP it would start new
    /// ones for every graph. Waiting threads sleep (`poll` 0), as others share the host; with OpenMP that is
    /// for `OMP_WAIT_POLICY=passive` to say, which its library reads once, before the process begins.
    private func setThreads(_ count: Int) {
        typealias SetThreads = @convention(c) (OpaquePointer?, Int32) -> Void
        function("ggml_backend_set_n_threads", as: SetThreads.self)?(backend, Int32(clamping: count))
        typealias NewPool =
            @convention(c) (UnsafeMutablePointer<ggml_threadpool_params>?) -> OpaquePointer?
        typealias SetPool = @convention(c) (OpaquePointer?, OpaquePointer?) -> Void
        guard count > 1, let new = function("ggml_threadpool_new", as: NewPool.self),
            let attach = function("ggml_backend_cpu_set_threadpool", as: SetPool.self)
        else { return }
        var parameters = ggml_threadpool_params_default(Int32(clamping: count))
        parameters.poll = 0
        threadPool = new(&parameters)
        attach(backend, threadPool)
    }

    /// A function that the device's library offers by name alone, as backends are loaded at run time.
    private func function<Function>(_ name: String, as type: Function.Type) -> Function? {
        guard let registry = ggml_backend_dev_backend_reg(device) else { return nil }
        return ggml_backend_reg_get_proc_address(registry, name).map { unsafeBitCast($0, to: type) }
    }

    /// Whether it is the host's processor.
    var isProcessor: Bool { ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU }

    /// The device's ordinary memory.
    var bufferType: OpaquePointer? { ggml_backend_dev_buffer_type(device) }

    /// Memory in which the device keeps matrices rearranged for speed. libllama prefers it where an
    /// operation can use it, and so do we: results are equal to the last bit only when both do.
    var extraBufferTypes: [OpaquePointer] {
        typealias GetExtra = @convention(c) (OpaquePointer?) -> UnsafeMutablePointer<OpaquePointer?>?
        guard let list = function("ggml_backend_dev_get_extra_bufts", as: GetExtra.self),
            var next = list(device)
        else { return [] }
        var types: [OpaquePointer] = []
        while let type = next.pointee {
            types.append(type)
            next += 1
        }
        return types
    }

    /// Whether a matrix of this type and shape may lie in `bufferType` when it is multiplied with.
    func canMultiply(type: UInt32, dimensions: [Int], in bufferType: OpaquePointer) -> Bool {
        let context = GGMLContext(tensors: 8)
        let matrix = context.tensor(type: type, dimensions: dimensions)
        let columns = ggml_new_tensor_2d(context.pointer, GGML_TYPE_F32, matrix.pointee.ne.0, 512)
        let product = ggml_mul_mat(context.pointer, matrix, columns)
        let buffer = ggml_backend_buft_alloc_buffer(bufferType, 0)
        defer { ggml_backend_buffer_free(buffer) }
        matrix.pointee.buffer = buffer
        let supported = ggml_backend_dev_supports_op(device, product)
        matrix.pointee.buffer = nil
        return supported
    }
}

/// A ggml context for tensor and graph descriptions alone; data lives in backend buffers.
final class GGMLContext {
    let pointer: OpaquePointer

    /// Room for `tensors` tensors and, when `graphNodes` is positive, one graph of that many nodes.
    init(tensors: Int, graphNodes: Int = 0) {
        var size = ggml_tensor_overhead() * (tensors + 1)
        if graphNodes > 0 { size += ggml_graph_overhead_custom(graphNodes, false) }
        let parameters = ggml_init_params(mem_size: size, mem_buffer: nil, no_alloc: true)
        guard let pointer = ggml_init(parameters) else {
            preconditionFailure("out of memory for a ggml context of \(size) bytes")
        }
        self.pointer = pointer
    }

    deinit { ggml_free(pointer) }

    /// A tensor of one to four dimensions, fastest-varying first.
    func tensor(type: UInt32, dimensions: [Int]) -> UnsafeMutablePointer<ggml_tensor> {
        let extents = dimensions.map(Int64.init)
        return ggml_new_tensor(pointer, ggml_type(rawValue: type), Int32(extents.count), extents)
    }
}
