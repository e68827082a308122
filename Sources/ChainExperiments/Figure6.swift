import ChainModel
import ChainPlanning
import ChainSimulation

/// Figure 6: the proposed system beside PETALS and BPRR on pools of `J` servers, a share `η` of them large.
///
/// Every run draws a pool, arrivals and sizes, and gives the same to every system: 300 requests from an empty
/// system, Poisson arrivals of which the first is at 0, exponential sizes.
package enum Figure6 {
    /// What a setting takes from where.
    package struct Setting: Hashable, Sendable {
        package var name: String
        package var profile: PaperProfile
        package var draw: ServerDraw
        /// The baselines, and the proposed system in the variants of interest.
        package var systems: [ComparedSystem]
        /// Which of `systems` the claims are about: position of the proposed one.
        package var proposed: ComparedSystem

        package init(
            name: String, profile: PaperProfile, draw: ServerDraw, systems: [ComparedSystem],
            proposed: ComparedSystem
        ) {
            precondition(systems.contains(proposed))
            self.name = name
            self.profile = profile
            self.draw = draw
            self.systems = systems
            self.proposed = proposed
        }

        package init(_ setting: PaperSetting) {
            switch setting {
            case .published:
                self.init(
                    name: setting.rawValue, profile: .paper, draw: .published,
                    systems: [
                        .petals(.lexicographic), .bprr(codedLoad: false, .release),
                        .proposed(.fixed(Figure6.publishedCapacity)),
                    ], proposed: .proposed(.fixed(Figure6.publishedCapacity)))
            case .asCoded:
                self.init(
                    name: setting.rawValue, profile: .code, draw: .coded,
                    systems: [
                        .petals(.sum, smallServerLimit: Figure6.codedBlockLimit),
                        .bprr(codedLoad: true, .loadShare), .proposedAsCoded,
                    ], proposed: .proposedAsCoded)
            case .fair:
                self.init(
                    name: setting.rawValue, profile: .paper, draw: .published,
                    systems: [
                        .petals(.lexicographic, asap: true), .petals(.lexicographic, retry: .client),
                        .bprr(codedLoad: false, .release, asap: true), .proposed(.tuned(by: .exact)),
                        .improved(search: false),
                    ], proposed: .proposed(.tuned(by: .exact)))
            }
        }

        /// What each peculiarity of the programs is worth: their parameters and draw, with the baselines' variants
        /// one change apart, and the paper's algorithms in place of the programs'.
        package static func dissected(draw: ServerDraw = .coded) -> Setting {
            Setting(
                name: "dissected, servers \(draw.rawValue)", profile: .code, draw: draw,
                systems: [
                    .petals(.sum, smallServerLimit: Figure6.codedBlockLimit), .petals(.sum),
                    .petals(.lexicographic), .petals(.lexicographic, retry: .client),
                    .bprr(codedLoad: true, .loadShare), .bprr(codedLoad: true, .release),
                    .bprr(codedLoad: true, .release, asap: true),
                    .bprr(codedLoad: false, .release, asap: true), .proposedAsCoded,
                    .proposed(.tuned(by: .lowerBound)), .proposed(.fixed(Figure6.publishedCapacity)),
                    .proposed(.tuned(by: .exact)),
                ], proposed: .proposed(.tuned(by: .lowerBound)))
        }
    }

    /// A place of the grid.
    package struct Cell: Hashable, Sendable {
        /// `J`.
        package var serverCount: Int
        /// `η`.
        package var highShare: Double
        /// `λ`, requests per second.
        package var arrivalRate: Double
        package var requestCount: Int

        package init(
            serverCount: Int, highShare: Double, arrivalRate: Double = publishedRate,
            requestCount: Int = publishedRequests
        ) {
            self.serverCount = serverCount
            self.highShare = highShare
            self.arrivalRate = arrivalRate
            self.requestCount = requestCount
        }
    }

    /// `c` as the paper states it.
    package static let publishedCapacity = 7
    /// Blocks to which the program limits a small PETALS server.
    package static let codedBlockLimit = 4
    package static let publishedRate = 0.2
    package static let publishedRequests = 300
    package static let publishedRuns = 20

    /// The paper's grid, `J` from 10 to 40 and `η` from 0.1 to 0.4.
    package static func grid(
        arrivalRate: Double = publishedRate, requestCount: Int = publishedRequests
    ) -> [Cell] {
        [10, 20, 30, 40].flatMap { count in
            [0.1, 0.2, 0.3, 0.4].map {
                Cell(
                    serverCount: count, highShare: $0, arrivalRate: arrivalRate, requestCount: requestCount)
            }
        }
    }

    /// One run of a cell: what every system of the setting made of the same pool and requests.
    ///
    /// Arrivals and sizes depend on the seed and the run alone, so that all cells and settings meet the same luck;
    /// arrivals of other rates are the same ones, stretched.
    package static func run(
        _ setting: Setting, _ cell: Cell, run: Int, seed: UInt64 = 42, on map: RoundTripMap
    ) -> [ComparedRun] {
        let runSeed = seed &* 1_000_003 &+ UInt64(run)
        var generator = PaperStream(seed: runSeed, .servers)
        let pool = PaperPool(
            .bloom176B(setting.profile), count: cell.serverCount, highShare: cell.highShare,
            arrivalRate: cell.arrivalRate, profile: setting.profile, draw: setting.draw, on: map,
            using: &generator)
        let requests = requests(cell.requestCount, rate: cell.arrivalRate, seed: runSeed)
        return setting.systems.map { pool.serve(requests, by: $0, joinSeed: runSeed) }
    }

    /// Poisson arrivals, the first at 0, and exponential sizes of mean 1.
    package static func requests(_ count: Int, rate: Double, seed: UInt64) -> [RoutedRequest] {
        var arrivals = PaperStream(seed: seed, .arrivals)
        var sizes = PaperStream(seed: seed, .sizes)
        var time = 0.0
        return (0..<count).map { number in
            if number > 0 { time += arrivals.exponential() / rate }
            return RoutedRequest(arrival: time, size: .multiple(sizes.exponential()))
        }
    }
}
