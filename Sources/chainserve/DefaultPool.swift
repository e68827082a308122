import ChainFormats

/// The pool that `chainserve up` starts when no cluster file is given: five unequal block servers on this machine, none
/// of which has room for the whole model. Their memory was chosen so that the planner composes several chains, some of
/// which share a server.
enum DefaultPool {
    static func text(modelPath: String) -> String {
        """
        model:
          name: \(DefaultModel.name)
          gguf: "\(modelPath)"
          max_sequence_length: 1024
        demand:
          arrival_rate: 0.9
          load_target: 0.7
          mean_input_tokens: 48
          mean_output_tokens: 64
        servers:
          - {name: amber, memory: 94 MB}
          - {name: birch, memory: 93 MB}
          - {name: cedar, memory: 81 MB}
          - {name: delta, memory: 76 MB}
          - {name: ember, memory: 70 MB}

        """
    }

    /// Jobs that arrive in the time that a job computes at a server of mean speed. Machines differ several times in
    /// speed; this keeps the pool about as busy, about a third of what it carries, on all of them.
    private static let arrivalsPerService = 2.1

    /// The demand for servers as fast as they were measured to be.
    static func setDemand(of file: inout ClusterFile, blockCount: Int) {
        let times = file.servers.compactMap(\.blockTime)
        guard !times.isEmpty else { return }
        let service = Double(blockCount) * times.reduce(0, +) / Double(times.count)
        file.demand.arrivalRate = (100 * arrivalsPerService / service).rounded(.up) / 100
    }
}
