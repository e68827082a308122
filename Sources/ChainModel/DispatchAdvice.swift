/// Which dispatch rule a plan should run under, and the figures that say so.
public struct DispatchAdvice: Hashable, Sendable {
    public var rule: DispatchRule
    /// Exact mean response times, seconds, under JFFC and under the best thresholds found (`jffc-wait`).
    public var meanResponseTimes: (jffc: Double, thresholds: Double) { (jffcMean, thresholdMean) }
    /// Probability that a job waits, under the two.
    public var waitProbabilities: (jffc: Double, thresholds: Double) { (jffcWaits, thresholdWaits) }
    private let jffcMean: Double
    private let thresholdMean: Double
    private let jffcWaits: Double
    private let thresholdWaits: Double

    /// Share of the mean response that thresholds must save to be worth the jobs that they keep waiting.
    ///
    /// Simulated with token lengths and bursts (docs/simulator.md), gains of a hundredth in the model vanish or come with ten times
    /// as many waiting jobs and later first tokens; where chains differ much in speed, gains of tenths remain.
    public static let leastGain = 0.05

    public init(
        meanResponseTimes: (jffc: Double, thresholds: Double),
        waitProbabilities: (jffc: Double, thresholds: Double)
    ) {
        jffcMean = meanResponseTimes.jffc
        thresholdMean = meanResponseTimes.thresholds
        jffcWaits = waitProbabilities.jffc
        thresholdWaits = waitProbabilities.thresholds
        rule = thresholdMean <= (1 - Self.leastGain) * jffcMean ? .jffcWait : .jffc
    }

    /// Share of JFFC's mean response that thresholds save, in the model.
    public var gain: Double { 1 - thresholdMean / jffcMean }
}
