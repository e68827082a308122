import CLlama

/// libllama running the whole file on the same device: the peer.
final class LibllamaPeer {
    private let model: OpaquePointer
    private let context: OpaquePointer
    private let vocabularySize: Int

    /// - Parameters:
    ///   - onGPU: all layers on the GPU, else all on the CPU.
    ///   - rows: longest sequence, tokens.
    init?(path: String, onGPU: Bool, threads: Int, jobs: Int, rows: Int) {
        llama_log_set({ _, _, _ in }, nil)
        llama_backend_init()
        var modelParameters = llama_model_default_params()
        modelParameters.n_gpu_layers = onGPU ? 999 : 0
        guard let model = llama_model_load_from_file(path, modelParameters) else { return nil }
        var parameters = llama_context_default_params()
        parameters.n_ctx = UInt32(rows * jobs)
        parameters.n_batch = 512
        parameters.n_ubatch = 512
        parameters.n_seq_max = UInt32(jobs)
        parameters.n_threads = Int32(threads)
        parameters.n_threads_batch = Int32(threads)
        parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED
        guard let context = llama_init_from_model(model, parameters) else {
            llama_model_free(model)
            return nil
        }
        self.model = model
        self.context = context
        vocabularySize = Int(llama_vocab_n_tokens(llama_model_get_vocab(model)))
    }

    deinit {
        llama_free(context)
        llama_model_free(model)
    }

    func clear() { llama_memory_clear(llama_get_memory(context), true) }

    /// One pass over `tokens` of each job, each from `position` on; the logits after the last token of each.
    func step(_ tokens: [[Int32]], position: Int) -> [[Float]] {
        let count = tokens.reduce(0) { $0 + $1.count }
        var batch = llama_batch_init(Int32(count), 0, 1)
        defer { llama_batch_free(batch) }
        batch.n_tokens = Int32(count)
        var index = 0
        var last: [Int32] = []
        for (job, tokens) in tokens.enumerated() {
            for (offset, token) in tokens.enumerated() {
                batch.token[index] = token
                batch.pos[index] = Int32(position + offset)
                batch.n_seq_id[index] = 1
                batch.seq_id[index]![0] = Int32(job)
                batch.logits[index] = offset == tokens.count - 1 ? 1 : 0
                index += 1
            }
            last.append(Int32(index - 1))
        }
        precondition(llama_decode(context, batch) == 0, "llama_decode failed")
        return last.map {
            Array(UnsafeBufferPointer(start: llama_get_logits_ith(context, $0), count: vocabularySize))
        }
    }
}
