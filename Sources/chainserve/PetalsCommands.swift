import ArgumentParser
import ChainFormats
import ChainModel

/// What `chainserve plan --emit` prints instead of the plan.
enum EmittedCommands: String, CaseIterable, ExpressibleByArgument {
    /// Commands that start PETALS servers as planned.
    case petals
}

/// The commands that start a plan's servers on PETALS, for people who start their own.
struct PetalsCommands {
    let model: String
    let prefix: String
    let section: PetalsSection
    let sequenceLength: Int

    /// - Parameter file: the cluster file that was planned.
    /// - Throws: `PetalsError` when the file does not say what PETALS has to be told.
    init(_ file: ClusterFile) throws {
        section = file.petals ?? PetalsSection()
        switch file.model {
        case .gguf(var reference):
            reference.path = file.path(reference.path)
            model = section.model ?? PetalsInstallation.convertedModel(of: reference.path)
            let name = reference.name ?? fileStem(reference.path)
            prefix = section.prefix ?? PetalsSection.prefix(for: name)
            sequenceLength = try chainserve.sequenceLength(of: reference)
        case .shape(let shape):
            guard let given = section.model else { throw PetalsError.needsModel }
            guard let length = section.maxSequenceLength else {
                throw PetalsError.needsLength(file.file.name)
            }
            model = given
            prefix = section.prefix ?? PetalsSection.prefix(for: shape.name)
            sequenceLength = length
        }
    }

    func text(_ plan: Plan, cluster: Cluster) -> String {
        var lines = [
            "# PETALS servers of the plan for \(cluster.model.name), in the order in which to start them.",
            "# Each prints its address when it runs (\"Running a server on …\"): write it as `peer` of the",
            "# server into the cluster file, with `engine: petals`, and `chainserve serve` attaches to it. In the environment of",
            "# `make petals` write `python -m chainserve_petals.server` for `python -m petals.cli.run_server`.",
        ]
        var peers =
            section.initialPeers.isEmpty ? nil : section.initialPeers.map(Self.quoted).joined(separator: " ")
        for (index, server) in cluster.servers.enumerated() {
            let position = ServerIndex(index)
            guard let range = plan.placement[position] else {
                lines.append("\n# \(server.name): spare, hosts nothing")
                continue
            }
            let units = cluster.cacheSlots(of: position, hosting: range.count)
            lines.append(
                "\n# \(server.name): blocks \(range.first)–\(range.end - 1), cache for \(units) blocks of jobs of"
                    + " \(sequenceLength) tokens")
            let swarm = peers.map { "--initial_peers \($0)" } ?? "--new_swarm"
            lines.append(command(server.name, range, units: units, swarm: swarm))
            let isLast = !cluster.servers.indices.contains {
                $0 > index && plan.placement[ServerIndex($0)] != nil
            }
            if peers == nil, !isLast {
                lines.append(
                    "\n# the others join the swarm of the first:\n"
                        + "INITIAL_PEERS='paste the address that \(server.name) printed'"
                )
                peers = "\"$INITIAL_PEERS\""
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func command(_ name: String, _ range: BlockRange, units: Int, swarm: String) -> String {
        var options = [
            "--dht_prefix \(Self.quoted(prefix))",
            // PETALS counts blocks from 0 and names the end.
            "--block_indices \(range.first - 1):\(range.end - 1)",
            // A pool of tokens for each block: the fewest with room for all units.
            "--attn_cache_tokens \((units * sequenceLength + range.count - 1) / range.count)",
            "--inference_max_length \(sequenceLength)", "--torch_dtype \(section.valueType.rawValue)",
        ]
        if let device = section.device { options.append("--device \(Self.quoted(device))") }
        options += ["--throughput 1", "--identity_path \(Self.quoted(name + ".id"))", swarm]
        return "python -m petals.cli.run_server \(Self.quoted(model)) \\\n    "
            + options.joined(separator: " \\\n    ")
    }

    /// A word for a POSIX shell.
    private static func quoted(_ word: String) -> String {
        let isSafe = word.unicodeScalars.allSatisfy {
            $0.isASCII
                && ($0.properties.isAlphabetic || ("0"..."9").contains($0)
                    || "_-./:=".unicodeScalars.contains($0))
        }
        return isSafe && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }
}
