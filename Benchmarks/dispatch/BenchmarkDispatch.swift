import ChainDispatch
import ChainModel
import Foundation

/// Measures decisions of the dispatcher and of the control plane that serves around it, on 1,000 chains of three servers
/// and four slots each. A decision puts one job on one chain.
///
/// usage: benchmark-dispatch dispatcher|control free|waiting DECISIONS
///
/// `free`: 3,800 of 4,000 slots are taken; a job ends, another arrives. `waiting`: all are taken and 100 jobs wait; a job
/// ends, the head of the queue starts, another arrives. Jobs end in an order from one seed. Prints `name value` pairs.
@main
enum BenchmarkDispatch {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 4, let decisions = Int(arguments[3]), decisions > 0,
            ["dispatcher", "control"].contains(arguments[1]), ["free", "waiting"].contains(arguments[2])
        else {
            print("usage: benchmark-dispatch dispatcher|control free|waiting DECISIONS")
            exit(2)
        }
        let jobs = arguments[2] == "free" ? 3800 : Pool.slots + 100
        if arguments[1] == "dispatcher" {
            var run = DispatcherRun()
            measure(&run, jobs: jobs, decisions: decisions)
        } else {
            var run = ControlRun()
            measure(&run, jobs: jobs, decisions: decisions)
        }
    }

    static func measure(_ run: inout some DispatchRun, jobs: Int, decisions: Int) {
        var load = Load(jobs: jobs)
        load.fill(&run)
        load.turn(&run, count: 100_000)
        let start = cpuSeconds()
        let checksum = load.turn(&run, count: decisions)
        print("decisions \(decisions) cpu_seconds \(cpuSeconds() - start) checksum \(checksum)")
    }

    static func cpuSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

enum Pool {
    static let chainCount = 1000
    static let capacity = 4
    static let serverCount = 300
    static let slots = chainCount * capacity

    static func servers(of chain: Int) -> [ServerIndex] {
        [0, 100, 200].map { ServerIndex(($0 + chain) % serverCount) }
    }

    /// From 1 to 3 s.
    static func serviceTime(of chain: Int) -> Duration { .milliseconds(1000 + 2 * Double(chain)) }
}

/// What takes arrivals and completions, and says which jobs it starts.
protocol DispatchRun {
    mutating func arrive(_ job: JobID)
    mutating func complete(_ job: JobID)
    /// Hands on the jobs started since the last call.
    mutating func takeStarts(_ body: (JobID, ChainIndex) -> Void)
}

struct DispatcherRun: DispatchRun {
    private var dispatcher: Dispatcher
    private var actions: [Dispatcher.Action] = []
    private var now = Instant.origin

    init() {
        dispatcher = Dispatcher(
            configuration: DispatcherConfiguration(queueLimit: 256, maximumAttempts: 10),
            chains: (0..<Pool.chainCount).map {
                DispatchChain(
                    servers: Pool.servers(of: $0), capacity: Pool.capacity,
                    serviceTime: Pool.serviceTime(of: $0))
            }, serverCount: Pool.serverCount)
        for server in 0..<Pool.serverCount { handle(.serverReady(ServerIndex(server))) }
    }

    private mutating func handle(_ event: Dispatcher.Event) {
        now = now + Duration(nanoseconds: 1)
        dispatcher.handle(event, at: now, into: &actions)
    }

    mutating func arrive(_ job: JobID) { handle(.jobArrived(job)) }
    mutating func complete(_ job: JobID) { handle(.jobCompleted(job, attempt: 1)) }
    mutating func takeStarts(_ body: (JobID, ChainIndex) -> Void) {
        for case .start(let job, _, let chain) in actions { body(job, chain) }
        actions.removeAll(keepingCapacity: true)
    }
}

struct ControlRun: DispatchRun {
    private var control: ControlPlane
    private var actions: [ControlPlane.Action] = []
    private var now = Instant.origin

    init() {
        control = ControlPlane(serverCount: Pool.serverCount)
        let checksum = RangeChecksum(1)
        let chains = (0..<Pool.chainCount).map { chain in
            PlanInstallation.Chain(
                hops: Pool.servers(of: chain).map { ChainHop(server: $0, firstBlock: 1, blockCount: 1) },
                capacity: Pool.capacity, serviceTime: Pool.serviceTime(of: chain))
        }
        handle(
            .planInstalled(
                PlanInstallation(
                    number: 1, chains: chains,
                    checksums: Array(repeating: checksum, count: Pool.serverCount))))
        let asked = actions
        actions = []
        for case .connect(let server, let incarnation) in asked {
            handle(.serverConnected(server, incarnation, holds: checksum))
        }
        actions = []
    }

    /// Nanoseconds pass, so that no timer of a server comes due.
    private mutating func handle(_ event: ControlPlane.Event) {
        now = now + Duration(nanoseconds: 1)
        control.handle(event, at: now, into: &actions)
    }

    mutating func arrive(_ job: JobID) {
        let client = ClientID(job.rawValue % 16)
        handle(.jobArrived(JobArrival(job: job, client: client, holder: TicketHolder(job.rawValue))))
    }
    mutating func complete(_ job: JobID) { handle(.jobCompleted(job, attempt: 1)) }
    mutating func takeStarts(_ body: (JobID, ChainIndex) -> Void) {
        for case .start(let job, _, let chain) in actions { body(job, chain) }
        actions.removeAll(keepingCapacity: true)
    }
}

/// So many jobs in the system, whatever happens: each that ends is followed by another.
struct Load {
    private let jobs: Int
    private var running: [JobID] = []
    private var last: UInt64 = 0
    private var state: UInt64 = 1

    init(jobs: Int) {
        self.jobs = jobs
        running.reserveCapacity(jobs)
    }

    mutating func fill(_ run: inout some DispatchRun) {
        for _ in 0..<jobs { arrive(&run) }
        run.takeStarts { job, _ in running.append(job) }
        precondition(running.count == min(jobs, Pool.slots), "\(running.count) of \(jobs) jobs run.")
    }

    private mutating func arrive(_ run: inout some DispatchRun) {
        last += 1
        run.arrive(JobID(last))
    }

    /// - Returns: a sum over the decisions, to compare with another program's.
    @discardableResult
    mutating func turn(_ run: inout some DispatchRun, count: Int) -> UInt64 {
        var checksum: UInt64 = 0
        for _ in 0..<count {
            // xorshift64* (Vigna 2016).
            state ^= state >> 12
            state ^= state << 25
            state ^= state >> 27
            let place = Int(((state &* 0x2545_F491_4F6C_DD1D) >> 32) % UInt64(running.count))
            let ended = running[place]
            running[place] = running[running.count - 1]
            running.removeLast()
            run.complete(ended)
            arrive(&run)
            run.takeStarts { job, chain in
                running.append(job)
                checksum = checksum &* 31 &+ job.rawValue &* 1024 &+ UInt64(chain.rawValue)
            }
        }
        return checksum
    }
}
