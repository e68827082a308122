import ChainModel
import Foundation
import Testing

@testable import ChainEngine

@Suite final class RangeStoreTests {
    let folder = NSTemporaryDirectory() + "chainserve-range-" + UUID().uuidString
    let parts: [[UInt8]] = [Array(0..<100), Array(50..<250), [7]]

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    var bytes: [UInt8] { parts.flatMap { $0 } }

    var manifest: BlockManifest {
        let parameters = LlamaParameters(
            architecture: "llama", blockCount: 2, embeddingWidth: 8, headCount: 2, keyValueHeadCount: 1,
            headSize: 4,
            feedForwardWidth: 16, normEpsilon: 1e-5, ropeDimensionCount: 4, ropeFrequencyBase: 10000,
            ropeFrequencyScale: 1, contextLength: 512, vocabularySize: 32)
        let tensors = parts.enumerated().map { index, part in
            TensorEntry(
                name: "t\(index)", type: 0, dimensions: [part.count], byteCount: part.count,
                crc32: CRC32.of(part))
        }
        return BlockManifest(
            modelName: "test", parameters: parameters, range: BlockRange(first: 1, count: 2), tensors: tensors
        )
    }

    func read(_ store: RangeStore, _ entry: TensorEntry) throws -> [UInt8] {
        var result = [UInt8](repeating: 0, count: entry.byteCount)
        try result.withUnsafeMutableBytes { try store.read(entry, into: $0) }
        return result
    }

    func append(_ part: some Sequence<UInt8>, to download: RangeDownload) throws {
        try Array(part).withUnsafeBytes { try download.append($0) }
    }

    @Test func receivesInPiecesOfAnySize() throws {
        for size in [1, 3, 100, 301] {
            try? FileManager.default.removeItem(atPath: folder)
            let download = try RangeDownload(folder: folder, manifest: manifest)
            #expect(try RangeStore.existing(in: folder, manifest: manifest) == nil)
            for start in stride(from: 0, to: bytes.count, by: size) {
                try append(bytes[start..<min(start + size, bytes.count)], to: download)
            }
            #expect(download.isComplete)
            let store = try download.finish()
            for (entry, part) in zip(manifest.tensors, parts) { #expect(try read(store, entry) == part) }
            let found = try #require(try RangeStore.existing(in: folder, manifest: manifest))
            #expect(try read(found, manifest.tensors[1]) == parts[1])
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
        }
    }

    @Test func keepsWholeTensorsOverARestart() throws {
        do {
            let download = try RangeDownload(folder: folder, manifest: manifest)
            try append(bytes[..<250], to: download)
            #expect(download.receivedBytes == 250)
        }
        do {
            let download = try RangeDownload(folder: folder, manifest: manifest)
            #expect(download.receivedBytes == 100)
            try append(bytes[100..<300], to: download)
        }
        // What lies on the disk is not trusted.
        let path = try #require(try FileManager.default.contentsOfDirectory(atPath: folder).first)
        let file = try #require(FileHandle(forUpdatingAtPath: "\(folder)/\(path)"))
        try file.seek(toOffset: 120)
        try file.write(contentsOf: Data([0]))
        try file.close()
        let download = try RangeDownload(folder: folder, manifest: manifest)
        #expect(download.receivedBytes == 100)
        try append(bytes[100...], to: download)
        #expect(try read(try download.finish(), manifest.tensors[1]) == parts[1])
    }

    @Test func wrongBytesTakeItBackToTheirTensor() throws {
        let download = try RangeDownload(folder: folder, manifest: manifest)
        var wrong = bytes
        wrong[150] ^= 1
        #expect(throws: EngineError.modelFile("the tensor t1 came with a wrong checksum")) {
            try append(wrong, to: download)
        }
        #expect(download.receivedBytes == 100)
        try append(bytes[100...], to: download)
        #expect(download.isComplete)
        #expect(throws: EngineError.modelFile("more bytes came than the range has")) {
            try append([0], to: download)
        }
    }

    @Test func oneDownloadAtATime() throws {
        let download = try RangeDownload(folder: folder, manifest: manifest)
        #expect(throws: EngineError.self) { try RangeDownload(folder: folder, manifest: manifest) }
        #expect(download.receivedBytes == 0)
    }

    @Test func damagedRangesAreRemoved() throws {
        let download = try RangeDownload(folder: folder, manifest: manifest)
        try append(bytes, to: download)
        let store = try download.finish()
        try Data(bytes.dropLast()).write(to: URL(fileURLWithPath: store.path))
        #expect(try RangeStore.existing(in: folder, manifest: manifest) == nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }

    @Test func oldestRangesAreRemoved() throws {
        var names: [String] = []
        for index in 0..<4 {
            var manifest = manifest
            manifest.modelName = "model \(index)"
            let download = try RangeDownload(folder: folder, manifest: manifest)
            try append(bytes, to: download)
            let path = try download.finish().path
            let date = Date(timeIntervalSince1970: 1_000_000 + Double(index))
            try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: path)
            names.append(URL(fileURLWithPath: path).lastPathComponent)
        }
        RangeStore.removeOldest(in: folder, keeping: 2)
        let left = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(Set(left) == Set(names[2...]))
    }

    @Test func unwritableFolderIsNamed() {
        #expect(throws: EngineError.self) { try RangeDownload(folder: "/dev/null/x", manifest: manifest) }
    }

    // MARK: Manifests

    @Test func manifestsGoThroughJSON() throws {
        let json = try manifest.encoded()
        #expect(try BlockManifest(json: json) == manifest)
        #expect(manifest.fingerprint.count == 16)
        #expect(manifest.totalBytes == 301)
    }

    @Test func fingerprintsTellRangesApart() {
        var others: [BlockManifest] = []
        for change: (inout BlockManifest) -> Void in [
            { $0.modelName = "other" }, { $0.firstBlock = 2 }, { $0.blockCount = 1 },
            { $0.tensors[1].crc32 ^= 1 }, { $0.tensors[1].name = "x" }, { $0.tensors.removeLast() },
            { $0.parameters.normEpsilon = 1e-6 }, { $0.parameters.ropeFrequencyBase = 500_000 },
        ] {
            var other = manifest
            change(&other)
            others.append(other)
        }
        #expect(Set(others.map(\.fingerprint) + [manifest.fingerprint]).count == others.count + 1)
    }

    @Test func impossibleManifestsAreRefused() throws {
        for change: (inout BlockManifest) -> Void in [
            { $0.firstBlock = 0 }, { $0.firstBlock = 2 }, { $0.blockCount = .max },
            { $0.tensors[1].name = "t0" }, { $0.tensors[1].byteCount = 0 },
            { $0.tensors[1].byteCount = .max },
            { $0.tensors[1].dimensions = [] }, { $0.tensors[1].dimensions = [1, 1, 1, 1, 1] },
            { $0.tensors[1].dimensions = [-1] }, { $0.parameters.keyValueHeadCount = 3 },
            { $0.parameters.headSize = .max }, { $0.parameters.embeddingWidth = 0 },
        ] {
            var other = manifest
            change(&other)
            let json = try JSONEncoder().encode(other)
            #expect(throws: EngineError.self) { try BlockManifest(json: json) }
        }
        #expect(throws: EngineError.self) { try BlockManifest(json: Data("[]".utf8)) }
    }

    @Test func cacheUnitsAreRoundedUp() {
        // Keys and values of one head of 4 values in two bytes, 256 rows and 512.
        #expect(manifest.parameters.cacheUnitSize(sequenceLength: 1) == ByteCount(4096))
        #expect(manifest.parameters.cacheUnitSize(sequenceLength: 256) == ByteCount(4096))
        #expect(manifest.parameters.cacheUnitSize(sequenceLength: 257) == ByteCount(8192))
    }
}
