import ChainModel
import Foundation

/// Golden values that live beside the repository, never in it. Names of fields are those of the data.
// swift-format-ignore: AlwaysUseLowerCamelCase
enum GoldenData {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "../shared/data/golden").standardizedFileURL
    static let missing = "golden values are not at ../shared/data/golden: skipped"

    static func isPresent(_ name: String) -> Bool {
        FileManager.default.fileExists(atPath: folder.appending(path: name).path)
    }

    static func load<Value: Decodable>(_ type: Value.Type, from name: String) throws -> Value {
        try JSONDecoder().decode(type, from: Data(contentsOf: folder.appending(path: name)))
    }

    /// Outputs of an independent implementation of the paper's algorithms in Python.
    struct Compositions: Decodable {
        var instances: [Instance]
    }

    struct Instance: Decodable {
        struct Server: Decodable {
            var M: Double
            var tau_c: Double
            var tau_p: Double
        }
        struct Output: Decodable {
            var gbp_cr: Greedy
            var gca: Allocation
            var theorem4: Bounds?
            var exact: Exact?
            var c_scan: [[ScanValue]]
            var c_star: [String: Int?]

            enum CodingKeys: String, CodingKey {
                case gbp_cr, gca, theorem4, c_scan, c_star
                case exact = "exact_jffc (not from the authors code)"
            }
        }
        struct Greedy: Decodable {
            struct Chain: Decodable {
                var servers: [Int]
                var T: Double
            }
            var a_1based: [String: Int]
            var m: [String: Int]
            var complete_chains: [Chain]
            var K: Int
            var rate_met: Bool
        }
        struct Allocation: Decodable {
            struct Chain: Decodable {
                var servers: [Int]
                var m_ij: [Int]
                var capacity: Int
                var T: Double
            }
            var chains: [Chain]
            var C: Int
            var nu: Double
        }
        struct Bounds: Decodable {
            var ET_lower: Double?
            var ET_upper: Double?
        }
        struct Exact: Decodable {
            var ET: Double?
            var P_wait: Double?
        }

        var id: Identifier
        var L: Int
        var s_m: Double
        var s_c: Double
        var rho_bar: Double
        var lambda: Double
        var c: Int
        var servers: [Server]
        var out: Output

        /// Sizes are gigabytes with few decimals: whole bytes.
        private static func bytes(_ gigabytes: Double) -> ByteCount {
            ByteCount(Int((gigabytes * 1e9).rounded()))
        }

        var cluster: Cluster {
            let model = ModelShape(
                name: id.description, blockCount: L, blockSize: Self.bytes(s_m), cacheSize: Self.bytes(s_c))
            let pool = servers.enumerated().map { number, server in
                ChainModel.Server(
                    name: "s\(number)", memory: Self.bytes(server.M), communicationTimeSeconds: server.tau_c,
                    blockTimeSeconds: server.tau_p)
            }
            return Cluster(
                model: model, demand: Demand(arrivalRate: lambda, loadTarget: rho_bar), servers: pool)
        }
    }

    /// A text or a number.
    struct Identifier: Decodable, CustomStringConvertible {
        var description: String

        init(from decoder: Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let number = try? container.decode(Int.self) {
                description = "\(number)"
            } else {
                description = try container.decode(String.self)
            }
        }
    }

    /// `[c, K_gbp, gbp_rate_met, K_gca, C, nu, ET_lower, ET_upper]`.
    enum ScanValue: Decodable {
        case number(Double)
        case flag(Bool)
        case none

        init(from decoder: Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .none
            } else if let flag = try? container.decode(Bool.self) {
                self = .flag(flag)
            } else {
                self = .number(try container.decode(Double.self))
            }
        }

        var number: Double? {
            if case .number(let value) = self { return value }
            return nil
        }

        var flag: Bool? {
            if case .flag(let value) = self { return value }
            return nil
        }
    }

    /// Exact values by an independent implementation of the recursion, checked by a sparse solver and simulation.
    struct ExactValues: Decodable {
        struct System: Decodable {
            var mu: [Double]
            var c: [Int]
            var arrival_rate: Double
            var mean_response_time: Double
            var p_wait: Double
            var lower: Double
            var upper: Double
        }
        var systems: [System]
    }

    /// Complete runs of the published baselines; only what their placements need.
    struct Baselines: Decodable {
        struct Run: Decodable {
            struct Input: Decodable {
                var M: [Double]
                var tau_p: [Double]
                var RTT: [Double]
                var high: [Int]
                var petals_join_order: [Int]
            }
            struct Placed: Decodable {
                var a: [Int]
                var m: [Int]
                var slots: [Int]
                var R: Int?
            }
            var `in`: Input
            var petals: Placed
            var bprr: Placed
        }
        struct Petals: Decodable {
            var block_bytes: Double
            var cache_bytes_per_block: Int
            var reserve_bytes: Int
            var cap_low_type: Int
            var throughput_high: [Double]
            var throughput_low: [Double]
        }
        struct Meta: Decodable {
            var L: Int
            var s_m: Double
            var s_c: Double
            var lc: Double
            var petals: Petals
        }
        var meta: Meta
        var cases: [Run]
    }
}
