// swift-tools-version: 6.2
import PackageDescription

// `.native` is a link that Scripts/native.sh makes: include/, lib/ and lib/pkgconfig/ of ggml and llama. The loader
// finds the libraries beside the package, or in lib/ beside the bin/ of an installation, so the products run with no
// environment variables set.
let nativeRunPath: [LinkerSetting] = [
    .unsafeFlags(
        [
            "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/../../../.native/lib",
            "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/../lib",
        ], .when(platforms: [.linux])),
    .unsafeFlags(
        [
            "-Xlinker", "-rpath", "-Xlinker", "@loader_path/../../../.native/lib",
            "-Xlinker", "-rpath", "-Xlinker", "@loader_path/../lib",
        ], .when(platforms: [.macOS])),
]

let package = Package(
    name: "ChainServe",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "chainserve", targets: ["chainserve"]),
        // The planner alone: builds without the network stack and the native libraries.
        .library(name: "ChainPlanning", targets: ["ChainModel", "ChainFormats", "ChainPlanning"]),
        .library(name: "ChainDispatch", targets: ["ChainModel", "ChainDispatch"]),
    ],
    traits: [
        // TLS towards clients and between orchestrator and block servers, and `chainserve pki`: two copies of
        // BoringSSL to compile, so it is asked for: `swift build --traits TLS`.
        .trait(name: "TLS", description: "TLS, mutual TLS and the pool's certificate authority."),
        .default(enabledTraits: []),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-numerics", from: "1.1.1"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.34.1"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        // The pure core: no Foundation, no network, no clock.
        .target(name: "ChainModel"),
        .target(
            name: "ChainPlanning",
            dependencies: ["ChainModel", .product(name: "RealModule", package: "swift-numerics")]),
        .target(name: "ChainDispatch", dependencies: ["ChainModel"]),
        // The simulator: drives the dispatcher that serves.
        .target(
            name: "ChainSimulation",
            dependencies: [
                "ChainModel", "ChainPlanning", "ChainDispatch",
                .product(name: "RealModule", package: "swift-numerics"),
            ]),
        // The service in a box, under faults from a seed.
        .target(name: "ChainFaults", dependencies: ["ChainModel", "ChainPlanning", "ChainDispatch"]),
        // Optimal references. HiGHS is loaded when it is needed; nothing is linked.
        .target(name: "ChainOptimum", dependencies: ["ChainModel", "ChainPlanning"]),
        .target(name: "ChainFormats", dependencies: ["ChainModel", .product(name: "Yams", package: "Yams")]),

        // Running blocks.
        .systemLibrary(name: "CGGML", pkgConfig: "ggml"),
        .systemLibrary(name: "CLlama", pkgConfig: "llama"),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .target(
            name: "ChainEngine", dependencies: ["ChainModel", "CGGML", "CLlama", "CZlib"],
            linkerSettings: nativeRunPath),

        // Across the network.
        .target(
            name: "ChainWire",
            dependencies: ["ChainModel", "CZlib", .product(name: "NIOCore", package: "swift-nio")]),
        // Who may talk to whom: API keys, the pool's token, TLS.
        .target(
            name: "ChainSecurity",
            dependencies: [
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOTLS", package: "swift-nio", condition: .when(traits: ["TLS"])),
                .product(name: "NIOSSL", package: "swift-nio-ssl", condition: .when(traits: ["TLS"])),
                .product(name: "SwiftASN1", package: "swift-asn1", condition: .when(traits: ["TLS"])),
                .product(name: "X509", package: "swift-certificates", condition: .when(traits: ["TLS"])),
                .product(name: "Crypto", package: "swift-crypto", condition: .when(traits: ["TLS"])),
            ]),
        .target(
            name: "ChainNode",
            dependencies: [
                "ChainEngine", "ChainWire", "ChainSecurity",
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        // Event loops that look for events before they sleep: in the place of the C library's `epoll_wait`.
        .target(name: "CPolling"),
        .target(
            name: "ChainOrchestrator",
            dependencies: [
                "ChainDispatch", "ChainPlanning", "ChainWire", "ChainEngine", "ChainSecurity", "CZlib",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "HummingbirdTLS", package: "hummingbird", condition: .when(traits: ["TLS"])),
                .product(name: "NIOSSL", package: "swift-nio-ssl", condition: .when(traits: ["TLS"])),
            ],
            resources: [
                .embedInCode("Gateway/Dashboard/dashboard.html"),
                .embedInCode("Gateway/Dashboard/dashboard.css"),
                .embedInCode("Gateway/Dashboard/dashboard.js"),
            ]),
        // The load generator: knows nothing of our own service but its API.
        .target(
            name: "ChainBench",
            dependencies: [
                "ChainFormats", "ChainSecurity",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ]),
        .target(
            name: "ChainExperiments",
            dependencies: [
                "ChainModel", "ChainFormats", "ChainPlanning", "ChainOptimum", "ChainSimulation",
                .product(name: "RealModule", package: "swift-numerics"),
            ]),
        .executableTarget(
            name: "chainserve",
            dependencies: [
                "ChainBench", "ChainDispatch", "ChainExperiments", "ChainFormats", "ChainNode",
                "ChainOptimum",
                "ChainOrchestrator", "ChainPlanning", "ChainSecurity", "ChainSimulation", "CPolling",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        // Prints the tables of docs/analysis.md.
        .executableTarget(
            name: "chainserve-tables", dependencies: ["ChainFormats", "ChainPlanning", "ChainOptimum"]),

        // Run by hand, and with reduced counts by tests: thousands of seeds of faults, millions of damaged inputs.
        .executableTarget(name: "chainserve-soak", dependencies: ["ChainFaults"]),
        .executableTarget(
            name: "chainserve-fuzz",
            dependencies: [
                "ChainBench", "ChainEngine", "ChainFormats", "ChainOrchestrator", "ChainWire",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
            ]),

        // `make bench`.
        .executableTarget(
            name: "benchmark-engine",
            dependencies: [
                "CGGML", "CLlama", "ChainEngine",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Benchmarks/engine", exclude: ["run.sh", "table.sh"], linkerSettings: nativeRunPath),
        .executableTarget(
            name: "benchmark-dispatch", dependencies: ["ChainDispatch"],
            path: "Benchmarks/dispatch", exclude: ["run.sh", "reference.cpp"]),
        .executableTarget(
            name: "benchmark-relay",
            dependencies: [
                "ChainEngine", "ChainModel", "ChainOrchestrator", "ChainWire",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            path: "Benchmarks/gateway/Relay", linkerSettings: nativeRunPath),
        .executableTarget(
            name: "benchmark-planner", dependencies: ["ChainFormats", "ChainPlanning"],
            path: "Benchmarks/planner", exclude: ["run.sh", "reference.cpp"]),
        .executableTarget(
            name: "benchmark-simulator", dependencies: ["ChainSimulation", "ChainPlanning", "ChainDispatch"],
            path: "Benchmarks/simulator",
            exclude: ["allocations.c", "peers.py", "reference.cpp", "run.sh"]),

        // Runs the built command as a user would.
        .testTarget(name: "CommandLineTests", dependencies: ["chainserve", "chainserve-fuzz"]),
        .testTarget(name: "ChainModelTests", dependencies: ["ChainModel"]),
        .testTarget(name: "ChainFormatsTests", dependencies: ["ChainFormats", "ChainPlanning"]),
        .testTarget(name: "ChainPlanningTests", dependencies: ["ChainPlanning", "ChainFormats"]),
        .testTarget(name: "ChainOptimumTests", dependencies: ["ChainOptimum", "ChainFormats"]),
        .testTarget(
            name: "ChainSimulationTests",
            dependencies: [
                "ChainSimulation", "ChainFormats", "ChainPlanning", "ChainDispatch",
                .product(name: "RealModule", package: "swift-numerics"),
            ]),
        .testTarget(name: "ChainExperimentsTests", dependencies: ["ChainExperiments", "chainserve"]),
        .testTarget(name: "ChainDispatchTests", dependencies: ["ChainDispatch"]),
        .testTarget(
            name: "ChainFaultsTests", dependencies: ["ChainFaults", "ChainDispatch", "chainserve-soak"]),
        .testTarget(name: "ChainEngineTests", dependencies: ["ChainEngine"]),
        .testTarget(
            name: "ChainWireTests",
            dependencies: ["ChainWire", .product(name: "NIOEmbedded", package: "swift-nio")]),
        .testTarget(
            name: "ChainSecurityTests",
            dependencies: [
                "ChainSecurity", "ChainNode", "ChainOrchestrator",
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        .testTarget(
            name: "CPollingTests",
            dependencies: [
                "CPolling",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        .testTarget(name: "ChainNodeTests", dependencies: ["ChainNode", "ChainOrchestrator"]),
        .testTarget(
            name: "ChainBenchTests",
            dependencies: [
                "ChainBench",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ]),
        .testTarget(
            name: "ChainOrchestratorTests",
            dependencies: [
                "ChainOrchestrator", "ChainNode", "ChainPlanning", "ChainEngine", "ChainDispatch",
                "ChainWire", "CLlama",
                .product(name: "GRDB", package: "GRDB.swift"),
            ]),
    ],
    swiftLanguageModes: [.v6]
)
