// swift-tools-version: 6.2
import PackageDescription

// `.native` is a link that Scripts/native.sh makes: include/, lib/ and lib/pkgconfig/ of ggml and llama. The loader
// finds the libraries beside the package, so the products run with no environment variables set.
let nativeRunPath: [LinkerSetting] = [
    .unsafeFlags(
        ["-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/../../../.native/lib"], .when(platforms: [.linux])),
    .unsafeFlags(
        ["-Xlinker", "-rpath", "-Xlinker", "@loader_path/../../../.native/lib"], .when(platforms: [.macOS])),
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
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-numerics", from: "1.1.1"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.34.1"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
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
        .target(
            name: "ChainNode",
            dependencies: [
                "ChainEngine", "ChainWire",
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .target(
            name: "ChainOrchestrator",
            dependencies: [
                "ChainDispatch", "ChainPlanning", "ChainWire", "ChainEngine",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
            ]),
        .executableTarget(
            name: "chainserve",
            dependencies: [
                "ChainFormats", "ChainPlanning", "ChainOptimum", "ChainSimulation", "ChainNode",
                "ChainOrchestrator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        // Prints the tables of docs/analysis.md.
        .executableTarget(
            name: "chainserve-tables", dependencies: ["ChainFormats", "ChainPlanning", "ChainOptimum"]),

        .executableTarget(
            name: "benchmark-simulator", dependencies: ["ChainSimulation", "ChainPlanning", "ChainDispatch"],
            path: "Benchmarks/simulator", exclude: ["allocations.c", "peers.py", "reference.cpp", "run.sh"]),

        // Runs the built command as a user would.
        .testTarget(name: "CommandLineTests", dependencies: ["chainserve"]),
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
        .testTarget(name: "ChainDispatchTests", dependencies: ["ChainDispatch"]),
        .testTarget(name: "ChainEngineTests", dependencies: ["ChainEngine"]),
        .testTarget(
            name: "ChainWireTests",
            dependencies: ["ChainWire", .product(name: "NIOEmbedded", package: "swift-nio")]),
        .testTarget(name: "ChainNodeTests", dependencies: ["ChainNode", "ChainOrchestrator"]),
        .testTarget(
            name: "ChainOrchestratorTests",
            dependencies: ["ChainOrchestrator", "ChainNode", "ChainPlanning", "ChainEngine", "CLlama"]),
    ],
    swiftLanguageModes: [.v6]
)
