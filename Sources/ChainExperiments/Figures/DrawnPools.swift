import ChainModel
import ChainPlanning
import Foundation
import Synchronization

/// Pools of the paper's setting for one run.
struct DrawnPools {
    let setting: Setting
    let map: RoundTripMap
    let seed: UInt64

    init(_ setting: Setting, _ options: ExperimentOptions, seed: UInt64) throws {
        self.setting = setting
        self.seed = seed
        map = try MeasuredData.roundTrips(options.sources)
    }

    var profile: PaperProfile { setting == .asCoded ? .code : .paper }
    var draw: ServerDraw { setting == .asCoded ? .coded : .published }

    /// BLOOM-176B on `count` slices, of which `⌊share·count⌋` are large.
    /// - Parameter promptOverhead: `o_in` instead of the model's, seconds.
    func bloom(
        count: Int = 20, share: Double = 0.2, arrivalRate: Double, loadTarget: Double = 0.7,
        promptOverhead: Double? = nil
    ) -> Cluster {
        var model = PaperModel.bloom176B(profile)
        if let promptOverhead { model.promptOverhead = promptOverhead }
        var stream = PaperStream(seed: seed, .servers)
        return PaperPool(
            model, count: count, highShare: share, arrivalRate: arrivalRate, loadTarget: loadTarget,
            profile: profile, draw: draw,
            // The programs of figures 1 to 5 reserve 2,068 tokens.
            cacheSize: setting == .asCoded ? ByteCount(118_600_000) : nil, on: map, using: &stream
        ).cluster
    }

    /// The parameters that all BLOOM experiments share.
    static func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        let isCode = setting == .asCoded
        return [
            Field("model", "BLOOM-176B, 70 blocks of 1.32 GB"),
            Field("cache_of_block_and_job_gb", isCode ? 0.1186 : 0.11),
            Field("block_time_large_s", isCode ? 0.0897 : 0.109),
            Field("block_time_small_s", isCode ? 0.1784 : 0.175),
            Field("server_draw", .text(isCode ? ServerDraw.coded.rawValue : ServerDraw.published.rawValue)),
            Field(
                "round_trips",
                options.sources.roundTrips == nil
                    ? "generated, statistics of RIPE "
                        + "Atlas" : "RIPE Atlas, measured"),
        ]
    }
}

/// Measured data, read once.
enum MeasuredData {
    private static let maps = Mutex<[String: RoundTripMap]>([:])

    /// The round trips of a run: measured where a file is given.
    static func roundTrips(_ sources: DataSources) throws -> RoundTripMap {
        let key = sources.roundTrips ?? ""
        if let map = maps.withLock({ $0[key] }) { return map }
        let map: RoundTripMap
        if let path = sources.roundTrips {
            map = try RoundTripMap(ripeAtlas: text(path, what: "--round-trips"))
        } else {
            map = RoundTripMap.synthetic()
        }
        maps.withLock { $0[key] = map }
        return map
    }

    static func text(_ path: String, what: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ExperimentError.invalidOption("\(what): \(path) cannot be read")
        }
        return String(decoding: data, as: UTF8.self)
    }
}

extension Planner {
    /// The plan in which Algorithm 1 places all servers it can: as for a rate that nothing reaches.
    static func fullPlan(_ cluster: Cluster, capacity: Int) throws(PlanningError) -> Plan {
        var cluster = cluster
        cluster.demand.arrivalRate = 1e9
        return try plan(cluster, options: PlanningOptions(capacity: .fixed(capacity)))
    }
}
