/// The pool that `chainserve up` starts when no cluster file is given: five unequal block servers on this machine, none
/// of which has room for the whole model.
enum DefaultPool {
    static func text(modelPath: String) -> String {
        """
        model:
          name: \(DefaultModel.name)
          gguf: "\(modelPath)"
          max_sequence_length: 2048
        demand:
          arrival_rate: 0.5
          load_target: 0.7
          mean_input_tokens: 48
          mean_output_tokens: 64
        servers:
          - {name: amber, memory: 84 MB}
          - {name: birch, memory: 72 MB}
          - {name: cedar, memory: 64 MB}
          - {name: delta, memory: 56 MB}
          - {name: ember, memory: 48 MB}

        """
    }
}
