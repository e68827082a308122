import ChainModel

/// Why there is no plan. The text says what, where and what to change.
public enum PlanningError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No placement holds every block even with room for one job: `Σ m_j(1) < L` (section 2 of the model).
    case modelDoesNotFit(blocksPlaceable: Int, blockCount: Int, missing: ByteCount)
    /// The fixed ranges and what the planner can add leave no path over all blocks.
    case noChain(firstMissingBlock: Int)
    /// `--capacity` beyond what any chain can reserve.
    case capacityOutOfRange(requested: Int, largest: Int)
    /// A range fixed by hand that the server cannot hold or the model does not have.
    case invalidManualRange(server: String, range: BlockRange, reason: String)
    /// No server can hold the whole model and one job.
    case noServerHoldsWholeModel(needed: ByteCount, largest: ByteCount)
    /// A chain whose servers take no time at all has no service rate.
    case chainTakesNoTime(servers: [String])
    /// Known to the formats, not to this version of the planner.
    case unsupported(String)
    /// A number that the model does not allow.
    case invalidInput(String)

    public var description: String {
        switch self {
        case .modelDoesNotFit(let placeable, let blockCount, let missing):
            "the pool cannot hold the model: its servers have room for \(placeable) of \(blockCount) blocks, each "
                + "with the cache of one job; about \(missing.rawValue) more bytes of memory are needed "
                + "(add servers, or raise `memory`)"
        case .noChain(let block):
            "no chain covers the model: no server can follow with block \(block) (change `placement`, leave more "
                + "servers to the planner, or add memory for caches)"
        case .capacityOutOfRange(let requested, let largest):
            "a required capacity of \(requested) is not possible: give --capacity between 1 and \(largest), or leave "
                + "it out"
        case .invalidManualRange(let server, let range, let reason):
            "placement of \(server) (first_block \(range.first), block_count \(range.count)): \(reason)"
        case .noServerHoldsWholeModel(let needed, let largest):
            "no server can hold the whole model with the cache of one job: that takes \(needed.rawValue) bytes, the "
                + "largest server has \(largest.rawValue) (use --placement gbp-cr)"
        case .chainTakesNoTime(let servers):
            "the chain over \(servers.joined(separator: ", ")) takes no time: give at least one of these servers a "
                + "positive communication_time or block_time"
        case .unsupported(let what), .invalidInput(let what): what
        }
    }
}
