/// What is running, as `/status` and `chainserve status --json` print it.
package struct PoolStatus: Hashable, Sendable, Codable {
    package enum ServerState: String, Hashable, Sendable, Codable, CaseIterable {
        case starting, loading, ready, suspect, draining, lost
    }

    package struct Server: Hashable, Sendable, Codable {
        package var name: String
        /// `host:port`.
        package var address: String
        /// Process identifier, only for servers on this machine.
        package var pid: Int?
        package var state: ServerState
        /// First hosted block, from 1; 0 when it hosts none.
        package var firstBlock: Int
        package var blockCount: Int
        /// Cache units, each the rows of one block for one job.
        package var slotsUsed: Int
        package var slotsTotal: Int
        /// How often it was lost while it served; for whoever looks seldom. Not part of the JSON.
        package var losses = 0

        package init(
            name: String, address: String, pid: Int? = nil, state: ServerState, firstBlock: Int,
            blockCount: Int,
            slotsUsed: Int, slotsTotal: Int
        ) {
            self.name = name
            self.address = address
            self.pid = pid
            self.state = state
            self.firstBlock = firstBlock
            self.blockCount = blockCount
            self.slotsUsed = slotsUsed
            self.slotsTotal = slotsTotal
        }

        private enum CodingKeys: String, CodingKey {
            case name, address, pid, state
            case firstBlock = "first_block"
            case blockCount = "block_count"
            case slotsUsed = "slots_used"
            case slotsTotal = "slots_total"
        }
    }

    package struct Chain: Hashable, Sendable, Codable {
        /// Names, in the order of the hops.
        package var servers: [String]
        /// Blocks computed at each hop: `m_ij`.
        package var blocks: [Int]
        /// Jobs at once.
        package var capacity: Int
        package var running: Int

        package init(servers: [String], blocks: [Int], capacity: Int, running: Int) {
            self.servers = servers
            self.blocks = blocks
            self.capacity = capacity
            self.running = running
        }
    }

    package var model: String
    /// The engine's name, such as `ggml` or `emulated`.
    package var engine: String
    package var emulated: Bool
    package var servers: [Server]
    package var chains: [Chain]
    package var queueLength: Int

    package init(
        model: String, engine: String, emulated: Bool, servers: [Server], chains: [Chain], queueLength: Int
    ) {
        self.model = model
        self.engine = engine
        self.emulated = emulated
        self.servers = servers
        self.chains = chains
        self.queueLength = queueLength
    }

    private enum CodingKeys: String, CodingKey {
        case model, engine, emulated, servers, chains
        case queueLength = "queue_length"
    }
}

extension PoolStatus {
    /// As `/status` answers it, fields in the order in which they are documented.
    func write(into writer: inout JSONWriter) {
        writer.field("model", model)
        writer.field("engine", engine)
        writer.field("emulated", emulated)
        writer.name("servers")
        writer.array(servers) { list, server in
            list.object {
                $0.field("name", server.name)
                $0.field("address", server.address)
                if let pid = server.pid { $0.field("pid", pid) }
                $0.field("state", server.state.rawValue)
                $0.field("first_block", server.firstBlock)
                $0.field("block_count", server.blockCount)
                $0.field("slots_used", server.slotsUsed)
                $0.field("slots_total", server.slotsTotal)
            }
        }
        writer.name("chains")
        writer.array(chains) { list, chain in
            list.object {
                $0.name("servers")
                $0.array(chain.servers) { $0.value($1) }
                $0.name("blocks")
                $0.array(chain.blocks) { $0.value($1) }
                $0.field("capacity", chain.capacity)
                $0.field("running", chain.running)
            }
        }
        writer.field("queue_length", queueLength)
    }
}
