import ChainEngine
import ChainWire

/// Loads of blocks, one at a time.
extension LinkHandler {
    /// A load that is given up ends the link: half-way, the server's state is not worth guessing.
    func load(
        _ request: LoadRequest, reader: RangeReader, progress: @escaping @Sendable (LoadProgress) -> Void,
        _ continuation: CheckedContinuation<LoadedReport, any Error>
    ) {
        guard load == nil else {
            continuation.resume(throwing: LinkError.refused(.busy, "another load is under way"))
            return
        }
        let none: [UInt64: Never] = [:]
        guard
            let call = begin(
                continuation, none, timeout: timeouts.loadSilence,
                onTimeout: { $0.close(with: .timedOut("load: no sign of progress")) })
        else { return }
        load = LinkLoad(id: request.load, call: call, reader: reader, progress: progress, handler: self)
        send(.load(request))
    }

    func cancelLoad() {
        guard let load else { return }
        self.load = nil
        load.call.fail(CancellationError())
        close(with: .closed("a load was cancelled"))
    }

    func receiveForLoad(_ message: Message) {
        guard let load, let context else { return }
        switch message {
        case .loadProgress(let report) where report.load == load.id:
            load.renewTimeout()
            load.progress(report)
        case .rangeRequest(let request) where request.load == load.id:
            load.renewTimeout()
            load.add(request, context: context)
        case .loaded(let report) where report.load == load.id:
            self.load = nil
            width = report.width
            returnsLastRowOnly = load.manifest.hostsLastBlock
            load.call.succeed(report)
        case .loadRefused(let id, let refusal) where id == load.id:
            self.load = nil
            let error: LinkError =
                refusal.code == .wrongModel ? .wrongModel(refusal.text) : .refused(refusal.code, refusal.text)
            load.call.fail(error)
        default: break
        }
    }
}
