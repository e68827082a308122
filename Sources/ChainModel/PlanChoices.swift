/// How servers get their blocks.
public enum PlacementMethod: String, Hashable, Sendable, CaseIterable {
    /// Greedy block placement with cache reservation, Algorithm 1 of the paper.
    case gbpCR = "gbp-cr"
    /// The block selection of PETALS.
    case petals
    /// The placement of BPRR.
    case cgBP = "cg-bp"
    /// Every server that can holds the whole model; the others nothing ("JFFC only").
    case wholeModel = "whole-model"
    /// Only what the cluster file says.
    case manual
}

/// What the required capacity `c` is chosen by (paper section 3.2.3).
public enum TuningCriterion: String, Hashable, Sendable, CaseIterable {
    /// Least exact mean response time.
    case exact
    /// Least lower bound of Theorem 4, the paper's best criterion.
    case lowerBound = "lower-bound"
    /// Least upper bound of Theorem 4.
    case upperBound = "upper-bound"
    /// Least number of reserved slots `c·K(c)` (eq. 9), infinite when the reserved chains miss the required rate.
    case surrogate
    /// Least simulated mean response time.
    case simulated
}

/// Which chain a job starts on.
public enum DispatchRule: String, Hashable, Sendable, CaseIterable {
    /// Join the fastest free chain (Algorithm 3).
    case jffc
    /// As JFFC, but a slow chain starts a job only when enough jobs wait.
    case jffcWait = "jffc-wait"
}
