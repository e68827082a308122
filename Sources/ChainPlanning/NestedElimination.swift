import RealModule

/// Solves the balance equations of the queue by block elimination: no iteration, no subtraction.
///
/// The states nest. Chains `1 … l`, with the waiting places among and behind them, form *stage* `l`: a row of planes, one
/// for each number `m = 0 … c_l` of jobs on chain `l`, each plane a copy of stage `l − 1`; then one state for each waiting
/// place behind chain `l`, in which all its chains are full. Each plane has one *exit*, its last state, in which
/// everything before chain `l` is full: only from there an arrival leads one plane up, and to the exit there. Departures
/// lead one plane down, to the same state. So planes are coupled upwards through a single number, and eliminating a plane
/// changes the next only by a matrix of rank one. Costs O(K²·states), and memory for a few numbers a state.
///
/// Every quantity is a sum, product or quotient of positive ones, as in the method of Grassmann, Taksar and Heyman (1985):
/// where elimination would form `1 − p`, the flow conserved says what it is made of. Nothing cancels, whatever the size.
struct NestedElimination: ~Copyable {
    /// A chain with the waiting places behind it.
    struct Stage {
        /// `c_l` and `μ_l`.
        var capacity: Int
        var rate: Double
        /// Places, and `ν_l`: the rate at which the chains up to this one empty them.
        var places: Int
        var placeRate: Double
    }

    private let arrivalRate: Double
    private let stages: [Stage]
    /// States of the stages before: `size[l] = N_l`, `N_0 = 1`, `N_l = (c_l + 1)·N_{l−1} + w_l`.
    private let size: [Int]
    /// By stage: what a plane's exit gets back through the planes above (`T⁻¹r·λ/d`), and what a job entering at the exit
    /// leaves in the plane (`B`). At the offsets of the states.
    private let back: [UnsafeMutablePointer<Double>]
    private let entered: [UnsafeMutablePointer<Double>]
    /// Room for one plane of the closed stage: an entry at its exit.
    private let unit: UnsafeMutablePointer<Double>

    init(_ stages: [Stage], arrivalRate: Double) {
        self.stages = stages
        self.arrivalRate = arrivalRate
        var size = [1]
        for (position, stage) in stages.enumerated() {
            size.append((stage.capacity + 1) * size[position] + stage.places)
        }
        self.size = size
        // What is factored lies within a plane of the last stage, one plane at a time.
        let inner = size[stages.count - 1]
        back = (0..<stages.count).map { .allocate(capacity: $0 == 0 ? 0 : inner) }
        entered = (0..<stages.count).map { .allocate(capacity: $0 == 0 ? 0 : inner) }
        unit = .allocate(capacity: inner)
    }

    deinit {
        for pointer in back + entered + [unit] { pointer.deallocate() }
    }

    var stateCount: Int { size[stages.count] }

    /// The stationary distribution up to a factor, in the nested order; arrivals to the last state are turned away.
    func weights() -> [Double] {
        var weights = [Double](repeating: 0, count: stateCount)
        weights[stateCount - 1] = 1
        weights.withUnsafeMutableBufferPointer { _ = close(stages.count, $0) }
        return weights
    }

    // MARK: Planes

    /// A plane of a stage: where it starts, how many states it has, and the rate at which each leads one plane down.
    private struct Plane {
        var start: Int
        var size: Int
        var downRate: Double
        /// Waiting places lead to the exit of the plane below only.
        var isPlace: Bool
        var exit: Int { start + size - 1 }
    }

    private func plane(_ number: Int, of stage: Int) -> Plane {
        let chain = stages[stage - 1]
        let inner = size[stage - 1]
        guard number > chain.capacity else {
            return Plane(
                start: number * inner, size: inner, downRate: chain.rate * Double(number), isPlace: false)
        }
        return Plane(
            start: (chain.capacity + 1) * inner + number - chain.capacity - 1, size: 1,
            downRate: chain.placeRate, isPlace: true)
    }

    private func lastPlane(of stage: Int) -> Int { stages[stage - 1].capacity + stages[stage - 1].places }

    /// Adds to `plane` of `target` what comes down from the plane above in `source`.
    private func addDescent(
        from above: Plane, in source: UnsafeMutablePointer<Double>, to plane: Plane,
        in target: UnsafeMutablePointer<Double>
    ) {
        if above.isPlace {
            target[plane.exit] += above.downRate * source[above.start]
        } else {
            for index in 0..<plane.size {
                target[plane.start + index] += above.downRate * source[above.start + index]
            }
        }
    }

    private static func sum(_ plane: Plane, _ values: UnsafeMutablePointer<Double>) -> Double {
        var sum = 0.0
        for index in plane.start..<(plane.start + plane.size) { sum += values[index] }
        return sum
    }

    /// Solves one plane of a stage that starts at `offset` of the factors, alone: `x ← T⁻¹x`, where each state also leaks at rate `leak` and the exit passes arrivals on.
    private func solvePlane(
        _ plane: Plane, of stage: Int, leak: Double, _ x: UnsafeMutablePointer<Double>, _ offset: Int
    ) {
        if plane.size == 1 {
            x[plane.start] /= arrivalRate + leak
        } else {
            solve(stage - 1, leak: leak, x + plane.start, offset + plane.start)
        }
    }

    // MARK: Open stages, whose states leak

    /// Factors a stage of which every state leaks at rate `leak > 0`, and whose exit passes arrivals on.
    ///
    /// From the last plane to the first, with `g = T⁻¹e` for an entry at the exit and `h = T⁻¹r` for what an entry in the
    /// plane above sends back (`r`): `B = g + h·λg_exit/d`, `d = 1 − λh_exit`. Flow is conserved, so that
    /// `d = leak·U + E + (leak + down)·Σh`, where an entry above spends the time `U` there and leaves by the last exit with
    /// probability `E`.
    private func factor(_ stage: Int, leak: Double, _ offset: Int) {
        var time = 0.0
        var passed = 1.0
        var above: Plane?
        for number in (0...lastPlane(of: stage)).reversed() {
            let plane = plane(number, of: stage)
            let planeLeak = leak + plane.downRate
            if plane.size > 1 { factor(stage - 1, leak: planeLeak, offset + plane.start) }
            let (into, h) = (entered[stage] + offset, back[stage] + offset)
            for index in plane.start..<(plane.start + plane.size) {
                into[index] = 0
                h[index] = 0
            }
            into[plane.exit] = 1
            solvePlane(plane, of: stage, leak: planeLeak, into, offset)
            if let above {
                addDescent(from: above, in: into, to: plane, in: h)
                solvePlane(plane, of: stage, leak: planeLeak, h, offset)
                let scale = arrivalRate / (leak * time + passed + planeLeak * Self.sum(plane, h))
                let exit = into[plane.exit]
                for index in plane.start..<(plane.start + plane.size) {
                    h[index] *= scale
                    into[index] += h[index] * exit
                }
            }
            let up = arrivalRate * into[plane.exit]
            time = Self.sum(plane, into) + up * time
            passed *= up
            above = plane
        }
    }

    /// `x ← T⁻¹x` for a factored stage.
    private func solve(_ stage: Int, leak: Double, _ x: UnsafeMutablePointer<Double>, _ offset: Int) {
        let (into, back) = (entered[stage] + offset, back[stage] + offset)
        var above: Plane?
        for number in (0...lastPlane(of: stage)).reversed() {
            let plane = plane(number, of: stage)
            if let above { addDescent(from: above, in: x, to: plane, in: x) }
            solvePlane(plane, of: stage, leak: leak + plane.downRate, x, offset)
            let exit = x[plane.exit]
            if above != nil, exit != 0 {
                for index in plane.start..<(plane.start + plane.size) { x[index] += back[index] * exit }
            }
            above = plane
        }
        var below = plane(0, of: stage)
        for number in 1...lastPlane(of: stage) {
            let plane = plane(number, of: stage)
            let entering = arrivalRate * x[below.exit]
            for index in plane.start..<(plane.start + plane.size) { x[index] += into[index] * entering }
            below = plane
        }
    }

    // MARK: The closed stage

    /// Weights of a stage that does not leak, and whose exit's arrivals come in again distributed as `x`, of sum one;
    /// `x` becomes the weights. Returns the logarithm of the flow through the exit in their scale.
    ///
    /// Seen from plane `m ≥ 1`, who leaves it downwards comes back at its exit. With `h = T⁻¹(source)` for what comes in from
    /// above and by `x`, and `g = T⁻¹e`, the weights are `h + a·g`; by the cut below the plane `a`, the flow up into it, is
    /// the flow down `down·Σ(h + a·g)` and what `x` brings to the planes below: `a = (below + down·Σh)/(λg_exit)`.
    private func close(_ stage: Int, _ x: UnsafeMutableBufferPointer<Double>) -> Double {
        guard let values = x.baseAddress else { return 0 }
        // Weights are kept times e^{−scale}; the flow through the exit is 1 before that.
        var scale = 0.0
        var above: Plane?
        let last = lastPlane(of: stage)
        var masses = (0...last).map { Self.sum(plane($0, of: stage), values) }
        for number in 1..<masses.count { masses[number] += masses[number - 1] }
        for number in (1...last).reversed() {
            let plane = plane(number, of: stage)
            let below = masses[number - 1] * Double.exp(-scale)
            for index in plane.start..<(plane.start + plane.size) { values[index] *= Double.exp(-scale) }
            if let above { addDescent(from: above, in: values, to: plane, in: values) }
            if plane.size > 1 { factor(stage - 1, leak: plane.downRate, 0) }
            for index in 0..<plane.size { unit[index] = 0 }
            unit[plane.size - 1] = 1
            if plane.size == 1 {
                unit[0] /= arrivalRate + plane.downRate
                values[plane.start] /= arrivalRate + plane.downRate
            } else {
                solve(stage - 1, leak: plane.downRate, unit, 0)
                solve(stage - 1, leak: plane.downRate, values + plane.start, 0)
            }
            let flow = below + plane.downRate * Self.sum(plane, values)
            let entering = flow / (arrivalRate * unit[plane.size - 1])
            for index in 0..<plane.size { values[plane.start + index] += entering * unit[index] }
            if Self.sum(plane, values) > Self.largest {
                for index in plane.start..<x.count { values[index] /= Self.largest }
                scale += Double.log(Self.largest)
            }
            above = plane
        }
        return closeFirst(stage, x, above: above, scale: scale)
    }

    /// Weights are divided by this when they exceed it.
    private static let largest = 0x1p400

    /// The plane of no jobs on the stage's chain: a closed stage too, entered by what comes down.
    private func closeFirst(
        _ stage: Int, _ x: UnsafeMutableBufferPointer<Double>, above: Plane?, scale: Double
    ) -> Double {
        guard let values = x.baseAddress, let above else { return 0 }
        let plane = plane(0, of: stage)
        for index in 0..<plane.size { values[index] *= Double.exp(-scale) }
        addDescent(from: above, in: values, to: plane, in: values)
        let mass = Self.sum(plane, values)
        // Nothing measurable: the stage is never that empty.
        guard mass > 0 else { return -scale }
        var flow = Double.log(arrivalRate)
        if plane.size == 1 {
            values[0] = 1
        } else {
            for index in 0..<plane.size { values[index] /= mass }
            flow = close(stage - 1, UnsafeMutableBufferPointer(rebasing: x[0..<plane.size]))
        }
        // Up from here goes what comes down.
        let shift = Double.log(mass) - flow
        if shift > 0 {
            for index in plane.size..<x.count { values[index] *= Double.exp(-shift) }
            return -scale - shift
        }
        for index in 0..<plane.size { values[index] *= Double.exp(shift) }
        return -scale
    }
}
