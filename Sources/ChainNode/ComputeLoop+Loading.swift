import ChainEngine
import ChainModel
import ChainWire
import Foundation
import Logging
import NIOCore

/// What the engine was made for: the same request again is answered at once.
struct HostedRange {
    var manifest: BlockManifest
    var limits: EngineLimits
    var options: EngineOptions
    var memoryUsed: ByteCount
}

/// A load whose tensors are still coming from the orchestrator.
struct PendingLoad {
    var id: UInt64
    var wanted: HostedRange
    var download: RangeDownload
    /// End of what was asked for.
    var requestedUpTo: Int
    var retriesLeft: Int
}

/// A reason not to load, on its way to the orchestrator.
private struct LoadRefused: Error {
    var refusal: Refusal

    init(_ code: Refusal.Code, _ text: String) { refusal = Refusal(code, text) }
    init(_ error: EngineError) { refusal = Refusal(error) }
}

/// Turns what an engine or a store refuses into a refused load.
private func refusing<Value>(
    _ body: () throws(EngineError) -> Value
) throws(LoadRefused) -> Value {
    do throws(EngineError) {
        return try body()
    } catch {
        throw LoadRefused(error)
    }
}

/// Loading: check the request, obtain the tensors, make the engine.
extension ComputeLoop {
    func beginLoad(_ request: LoadRequest) {
        guard loading == nil else {
            reply?.send(.loadRefused(load: request.load, Refusal(.busy, "another load is under way")))
            return
        }
        do throws(LoadRefused) {
            let wanted = try check(request)
            if let hosted, engine != nil, hosted.manifest == wanted.manifest, hosted.limits == wanted.limits,
                hosted.options == wanted.options
            {
                reply?.send(.loaded(report(load: request.load, hosted, wasLoaded: true)))
                return
            }
            guard !hasOpenJobs else { throw LoadRefused(.busy, "jobs are open on the blocks hosted now") }
            guard let tensors = try localTensors(for: wanted, load: request.load) else {
                try beginDownload(of: wanted, load: request.load)
                return
            }
            try host(wanted, tensors: tensors, load: request.load)
        } catch {
            refuse(load: request.load, error)
        }
    }

    func receive(_ piece: RangePiece) {
        guard var load = loading, load.id == piece.load else { return }
        do throws(LoadRefused) {
            guard piece.offset == load.download.receivedBytes else { return }
            loading = nil
            try append(piece, to: &load)
            if load.download.isComplete {
                try host(load)
            } else {
                loading = load
            }
        } catch {
            loading = nil
            refuse(load: piece.load, error)
        }
    }

    private func refuse(load: UInt64, _ error: LoadRefused) {
        logger.warning("load refused", metadata: ["reason": "\(error.refusal.text)"])
        reply?.send(.loadRefused(load: load, error.refusal))
    }

    // MARK: Checking

    private func check(_ request: LoadRequest) throws(LoadRefused) -> HostedRange {
        let manifest = try refusing { () throws(EngineError) in
            try BlockManifest(json: Data(request.manifest.readableBytesView))
        }
        guard request.unitCount >= 1, request.sequenceLength >= 1, request.stepTokens >= 1 else {
            throw LoadRefused(.badManifest, "a load needs cache units, a sequence length and a step length")
        }
        guard request.stepTokens <= configuration.bounds.stepTokens else {
            let limit = configuration.bounds.stepTokens
            throw LoadRefused(
                .stepTooLarge, "steps of \(request.stepTokens) tokens exceed this server's \(limit)")
        }
        let derived = manifest.parameters.cacheUnitSize(sequenceLength: request.sequenceLength)
        let declared = configuration.engineKind == .emulated ? manifest.emulatedUnitSize : nil
        let unitSize = declared.map { ByteCount(max(1, $0)) } ?? derived
        let (units, overflow) = unitSize.rawValue.multipliedReportingOverflow(by: request.unitCount)
        let (total, overflow2) = units.addingReportingOverflow(
            manifest.totalBytes + request.computeSize.rawValue)
        guard !overflow, !overflow2, total <= configuration.memory.rawValue else {
            let needed = overflow || overflow2 ? "far more" : String(total)
            throw LoadRefused(
                .memoryTooSmall,
                "\(configuration.name) declares \(configuration.memory.rawValue) bytes, but "
                    + "\(needed) are needed: \(manifest.totalBytes) for the parameters,"
                    + " \(request.unitCount) cache units of \(unitSize.rawValue) and"
                    + " \(request.computeSize.rawValue) to compute in; start it with the memory that the cluster file"
                    + " gives it, or correct it there")
        }
        let limits = EngineLimits(
            range: manifest.range, width: manifest.parameters.embeddingWidth, unitCount: request.unitCount,
            sequenceLength: request.sequenceLength, stepTokens: request.stepTokens)
        let options = EngineOptions(
            threads: request.threads > 0 ? request.threads : configuration.threads,
            computeSize: request.computeSize)
        return HostedRange(
            manifest: manifest, limits: limits, options: options, memoryUsed: ByteCount(total))
    }

    // MARK: Tensors

    /// The tensors, if this machine has them: in its own model file, which must then be right, or from an
    /// earlier time.
    private func localTensors(
        for wanted: HostedRange, load: UInt64
    ) throws(LoadRefused) -> (any TensorSource)? {
        guard configuration.needsTensors else { return AbsentTensors() }
        if let path = configuration.modelPath { return try localModelTensors(path: path, wanted, load: load) }
        return try refusing { () throws(EngineError) in
            try RangeStore.existing(in: configuration.cacheFolder, manifest: wanted.manifest) { done in
                progress(load: load, .verifying, done, of: wanted.manifest)
            }
        }
    }

    private func localModelTensors(
        path: String, _ wanted: HostedRange, load: UInt64
    ) throws(LoadRefused) -> any TensorSource {
        let model = try refusing { () throws(EngineError) in
            if let localModel { return localModel }
            return try openLocalModel(path)
        }
        localModel = model
        var done = 0
        for tensor in wanted.manifest.tensors {
            let own = try refusing { () throws(EngineError) in try model.entry(named: tensor.name) }
            if let difference = Self.difference(of: own, from: tensor) {
                throw LoadRefused(
                    .wrongModel,
                    "\(path) is not the model \(wanted.manifest.modelName) that is served: the tensor"
                        + " \(tensor.name) \(difference)")
            }
            done += tensor.byteCount
            progress(load: load, .verifying, done, of: wanted.manifest)
        }
        return model
    }

    private static func difference(of own: TensorEntry?, from wanted: TensorEntry) -> String? {
        guard let own else { return "is not in it" }
        if own.type != wanted.type { return "has type \(own.type) instead of \(wanted.type)" }
        if own.dimensions != wanted.dimensions {
            return "has the shape \(own.dimensions) instead of \(wanted.dimensions)"
        }
        if own.byteCount != wanted.byteCount {
            return "has \(own.byteCount) bytes instead of \(wanted.byteCount)"
        }
        return own.crc32 == wanted.crc32 ? nil : "has other values (its checksum differs)"
    }

    private func beginDownload(of wanted: HostedRange, load: UInt64) throws(LoadRefused) {
        let download = try refusing { () throws(EngineError) in
            try RangeDownload(folder: configuration.cacheFolder, manifest: wanted.manifest) { done in
                progress(load: load, .verifying, done, of: wanted.manifest)
            }
        }
        var pending = PendingLoad(
            id: load, wanted: wanted, download: download, requestedUpTo: download.receivedBytes,
            retriesLeft: configuration.bounds.rangeRetries)
        logger.info(
            "receiving blocks",
            metadata: [
                "bytes": "\(wanted.manifest.totalBytes)", "resumed_from": "\(download.receivedBytes)",
            ])
        if download.isComplete {
            try host(pending)
        } else {
            requestMore(&pending)
            loading = pending
        }
    }

    /// Writes a piece down. One that is wrong is asked for again, a bounded number of times.
    private func append(_ piece: RangePiece, to load: inout PendingLoad) throws(LoadRefused) {
        var problem: EngineError?
        if frameChecksum(piece.bytes.readableBytesView) == piece.crc32 {
            let before = load.download.receivedBytes
            do throws(EngineError) {
                try load.download.append(piece.bytes)
            } catch {
                // Only a wrong checksum takes a download back; whatever else went wrong will go wrong again.
                guard load.download.receivedBytes <= before else { throw LoadRefused(error) }
                problem = error
            }
        } else {
            problem = .modelFile("the bytes from \(piece.offset) on came with a wrong checksum")
        }
        if let problem {
            guard load.retriesLeft > 0 else { throw LoadRefused(.badRange, problem.description) }
            load.retriesLeft -= 1
            logger.warning("asking again for part of the range", metadata: ["reason": "\(problem)"])
            load.requestedUpTo = load.download.receivedBytes
        }
        progress(load: load.id, .receiving, load.download.receivedBytes, of: load.wanted.manifest)
        requestMore(&load)
    }

    /// Keeps between one and two windows of bytes on their way.
    private func requestMore(_ load: inout PendingLoad) {
        let window = configuration.bounds.rangeWindow
        let total = load.wanted.manifest.totalBytes
        while load.requestedUpTo < total, load.requestedUpTo - load.download.receivedBytes <= window {
            let count = min(window, total - load.requestedUpTo)
            reply?.send(
                .rangeRequest(RangeRequest(load: load.id, fromOffset: load.requestedUpTo, byteCount: count)))
            load.requestedUpTo += count
        }
    }

    // MARK: Hosting

    private func host(_ load: PendingLoad) throws(LoadRefused) {
        let store = try refusing { () throws(EngineError) in try load.download.finish() }
        RangeStore.removeOldest(in: configuration.cacheFolder, keeping: configuration.bounds.keptRanges)
        try host(load.wanted, tensors: store, load: load.id)
    }

    /// Makes the engine. The one before is let go first: both together might exceed the declared memory.
    private func host(
        _ wanted: HostedRange, tensors: any TensorSource, load: UInt64
    ) throws(LoadRefused) {
        engine = nil
        hosted = nil
        publishHealth()
        progress(load: load, .building, 0, of: wanted.manifest)
        let made = try refusing { () throws(EngineError) in
            try makeEngine(wanted.manifest, tensors, wanted.limits, wanted.options)
        }
        guard made.limits == wanted.limits else {
            throw LoadRefused(.engine, "the engine was made with other limits than were asked for")
        }
        engine = made
        hosted = wanted
        publishHealth()
        logger.info(
            "hosting blocks",
            metadata: [
                "model": "\(wanted.manifest.modelName)", "first_block": "\(wanted.limits.range.first)",
                "block_count": "\(wanted.limits.range.count)", "units": "\(wanted.limits.unitCount)",
                "memory_used": "\(wanted.memoryUsed.rawValue)", "emulated": "\(made.isEmulated)",
            ])
        reply?.send(.loaded(report(load: load, wanted, wasLoaded: false)))
    }

    private func report(load: UInt64, _ hosted: HostedRange, wasLoaded: Bool) -> LoadedReport {
        LoadedReport(
            load: load, firstBlock: hosted.limits.range.first, blockCount: hosted.limits.range.count,
            width: hosted.limits.width, unitCount: hosted.limits.unitCount,
            sequenceLength: hosted.limits.sequenceLength, stepTokens: hosted.limits.stepTokens,
            memoryUsed: hosted.memoryUsed, isEmulated: engine?.isEmulated ?? false, wasLoaded: wasLoaded,
            checksum: hosted.manifest.checksum)
    }

    private func progress(load: UInt64, _ stage: LoadProgress.Stage, _ done: Int, of manifest: BlockManifest)
    {
        reply?.send(
            .loadProgress(
                LoadProgress(load: load, stage: stage, bytesDone: done, bytesTotal: manifest.totalBytes)))
    }
}

/// Stands for tensors where an engine has no use for them.
private struct AbsentTensors: TensorSource {
    func read(_ entry: TensorEntry, into destination: UnsafeMutableRawBufferPointer) throws(EngineError) {
        throw .modelFile("this server was set up without tensors: \(entry.name) is not here")
    }
}

extension RangeDownload {
    fileprivate func append(_ bytes: ByteBuffer) throws(EngineError) {
        let result = bytes.withUnsafeReadableBytes { bytes in
            Result { () throws(EngineError) in try append(bytes) }
        }
        try result.get()
    }
}
