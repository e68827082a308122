import ChainModel
import Testing

@testable import ChainFormats

/// `engine: petals` in a cluster file.
@Suite struct PetalsSectionTests {
    private static let peer = "/ip4/10.0.0.7/tcp/31337/p2p/QmServer"

    private static func text(
        _ top: String = "engine: petals", model: String = "gguf: m.gguf", server: String = ""
    )
        -> String
    {
        """
        \(top)
        model: {\(model)}
        demand: {arrival_rate: 0.2}
        servers:
          - {name: a, memory: 1 GB, communication_time: 0.1, block_time: 0.1\(server)}
        """
    }

    private func problems(_ text: String) -> [FormatProblem] {
        do {
            _ = try ClusterFile.parse(text)
            return []
        } catch {
            return (error as? FormatError)?.problems ?? []
        }
    }

    @Test func everyKeyIsReadAndWritten() throws {
        let section = """
            engine: petals
            petals:
              model: models/hf
              prefix: mine
              torch_dtype: bfloat16
              device: cuda:1
              initial_peers: ["\(Self.peer)"]
            """
        let file = try ClusterFile.parse(Self.text(section, server: ", peer: \"\(Self.peer)\""))
        let expected = PetalsSection(
            model: "models/hf", prefix: "mine", initialPeers: [Self.peer], valueType: .bfloat16,
            device: "cuda:1")
        #expect(file.engine == .petals)
        #expect(file.petals == expected)
        #expect(file.servers[0].peer == Self.peer)
        #expect(try ClusterFile.parse(file.yaml) == file)
    }

    @Test func theSectionMayBeLeftOut() throws {
        let file = try ClusterFile.parse(Self.text())
        #expect(file.engine == .petals && file.petals == nil)
        #expect(try ClusterFile.parse(file.yaml) == file)
    }

    @Test(arguments: [
        ("engine: petals\npetals: {torch_type: float32}", FormatProblem.Code.unknownKey, "torch_dtype"),
        ("engine: petals\npetals: {torch_dtype: float64}", .unknownName, "float32 or bfloat16"),
        ("engine: petals\npetals: {prefix: a.b}", .wrongType, "dots and spaces"),
        ("engine: petals\npetals: {initial_peers: [\"10.0.0.7:31337\"]}", .wrongType, "/p2p/"),
        ("engine: petals\npetals: {initial_peers: \(peer)}", .wrongType, "write a list"),
        ("engine: petals\npetals: {max_sequence_length: 9}", .conflict, "under `model`"),
        ("engine: ggml\npetals: {prefix: a}", .conflict, "write `engine: petals`"),
        ("engine: petal", .unknownName, "petals"),
    ])
    func sectionsThatAreWrong(_ top: String, _ code: FormatProblem.Code, _ mend: String) {
        let found = problems(Self.text(top))
        #expect(found.map(\.code) == [code])
        #expect(found.allSatisfy { $0.mend.contains(mend) }, "\(found)")
        #expect(found.allSatisfy { $0.line != nil })
    }

    @Test func serversThatAreWrong() {
        #expect(problems(Self.text(server: ", peer: Qm")).map(\.code) == [.wrongType])
        #expect(problems(Self.text(server: ", address: \"h:1\"")).map(\.code) == [.conflict])
        let elsewhere = Self.text("engine: ggml", server: ", peer: \"\(Self.peer)\"")
        #expect(problems(elsewhere).map(\.code) == [.conflict])
    }

    @Test func prefixesHaveNoDots() {
        #expect(PetalsSection.prefix(for: "Llama 3.1-8B") == "Llama-3-1-8B")
        #expect(PetalsSection.prefix(for: "") == "model")
    }
}
