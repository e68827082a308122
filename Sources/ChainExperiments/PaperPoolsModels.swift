import ChainModel
import ChainSimulation

/// Which of two sets of numbers an experiment takes: those that the paper prints, or those of its programs.
package enum PaperProfile: String, CaseIterable, Hashable, Sendable {
    case paper
    case code
}

/// A model of the published experiments, with what its times are derived from.
package struct PaperModel: Hashable, Sendable {
    package var shape: ModelShape
    /// Floating-point work of one block for one token: `F`, GFLOP.
    package var workPerToken: Double
    /// Bytes of one block that decoding a token reads, GB.
    package var bytesPerToken: Double
    /// Mean tokens of a request: `l_in`, `l_out`.
    package var inputTokens: Double
    package var outputTokens: Double
    /// Delay of a hop at the first token, and at each further one: `o_in`, `o_tok`, seconds.
    package var promptOverhead: Double
    package var tokenOverhead: Double
    /// Memory as PETALS counts it: a block, its attention cache, the reserve for gradients.
    package var petalsBlock: ByteCount
    package var petalsCache: ByteCount
    package var petalsReserve: ByteCount

    /// BLOOM-176B in 4 bits: 70 blocks of 1.32 GB.
    ///
    /// The cache of a block and a job is `2·d·tokens·2` bytes with `d` = 14,336. The paper prints 0.11 GB; the
    /// program of figure 6 takes 2,020 tokens and those of figures 1 to 5 take 2,068.
    package static func bloom176B(_ profile: PaperProfile) -> PaperModel {
        PaperModel(
            shape: ModelShape(
                name: "bloom-176b", blockCount: 70, blockSize: ByteCount(1_320_000_000),
                cacheSize: ByteCount(profile == .paper ? 110_000_000 : 115_834_880)),
            workPerToken: 5, bytesPerToken: 1.32, inputTokens: 2000, outputTokens: 20, promptOverhead: 0.05,
            tokenOverhead: 0, petalsBlock: ByteCount(1_323_397_667), petalsCache: ByteCount(234_881_024),
            petalsReserve: ByteCount(2_147_483_648))
    }

    /// LLaMA-2-7B in 16 bits: 32 blocks of 0.4375 GB, caches of 2,048 tokens; tokens of the Azure trace.
    ///
    /// The cache of a block and a job is 33,554,432 bytes (`d` = 4096). Rounded to 0.0336 GB, as the programs
    /// have it, the 4,096 tokens that PETALS sets aside hold one request instead of two.
    ///
    /// - Parameter profile: The program for LLaMA kept the work and the bytes of BLOOM's block (`F` = 5, 1.32 GB)
    ///   and 2048 and 28 tokens; the numbers meant are `F` = 0.86 and the block's own bytes, with 18 ms more for
    ///   every token of a hop.
    package static func llama2x7B(_ profile: PaperProfile) -> PaperModel {
        let isPaper = profile == .paper
        return PaperModel(
            shape: ModelShape(
                name: "llama-2-7b", blockCount: 32, blockSize: ByteCount(437_500_000),
                cacheSize: ByteCount(profile == .paper ? 33_554_432 : 33_600_000)),
            workPerToken: isPaper ? 0.86 : 5, bytesPerToken: isPaper ? 0.4375 : 1.32,
            inputTokens: isPaper ? 2047.85 : 2048, outputTokens: isPaper ? 27.88 : 28, promptOverhead: 0.05,
            tokenOverhead: isPaper ? 0.018 : 0, petalsBlock: ByteCount(441_875_000),
            petalsCache: ByteCount(67_108_864), petalsReserve: ByteCount(613_566_756))
    }
}

/// A slice of an A100 as the published experiments describe it.
package struct PaperDevice: Hashable, Sendable {
    package var name: String
    package var memory: ByteCount
    /// Arithmetic, TFLOPS, and memory bandwidth, GB per second.
    package var teraflops: Double
    package var bandwidth: Double
    /// Speeds that a PETALS server on it advertises, requests per second.
    package var advertisedRates: Server.AdvertisedRates

    /// 40 GB. The programs' advertised rates are those of a whole A100.
    package static func high(_ profile: PaperProfile) -> PaperDevice {
        PaperDevice(
            name: "3g.40gb", memory: ByteCount(40_000_000_000), teraflops: profile == .paper ? 120 : 156,
            bandwidth: 1020, advertisedRates: .init(forward: 20829.38, network: 3020.37))
    }

    /// 20 GB. The programs' advertised rates are twice those of a 1g.10gb slice.
    package static func low(_ profile: PaperProfile) -> PaperDevice {
        PaperDevice(
            name: "2g.20gb", memory: ByteCount(20_000_000_000), teraflops: profile == .paper ? 80 : 78,
            bandwidth: 510, advertisedRates: .init(forward: 5515.44, network: 6276.20))
    }

    /// How long a block takes for a request's tokens: `t_o + (F/f)·l_in + (s_m/b)·(l_out − 1)`, with `t_o` 1 ms.
    package func times(_ model: PaperModel, roundTrip: Double) -> ServerTokenTimes {
        ServerTokenTimes(
            promptDelay: roundTrip + model.promptOverhead, tokenDelay: roundTrip + model.tokenOverhead,
            blockConstant: 0.001, blockPromptToken: model.workPerToken / teraflops / 1000,
            blockOutputToken: model.bytesPerToken / bandwidth)
    }
}
