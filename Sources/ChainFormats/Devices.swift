import ChainModel

/// The figures themselves. Memory in decimal gigabytes as the makers state it, TFLOP/s dense (without sparsity), GB/s.
extension DeviceCatalogue {
    private static func device(
        _ name: String, gigabytes: Int?, teraflops: Double, gigabytesPerSecond: Double, _ source: String
    ) -> Device {
        Device(
            name: name, memory: gigabytes.map { ByteCount($0 * 1_000_000_000) },
            operationsPerSecond: teraflops * 1e12, bytesPerSecond: gigabytesPerSecond * 1e9, source: source)
    }

    /// The two slices of an A100 that the paper measures with, with the FLOP/s of its section 4.
    static let paperSlices: [Device] = [
        device(
            "a100-3g.40gb", gigabytes: 40, teraflops: 120, gigabytesPerSecond: 1020,
            "Sun, He, Hou 2026, section 4; bandwidth: half an A100 80GB"),
        device(
            "a100-2g.20gb", gigabytes: 20, teraflops: 80, gigabytesPerSecond: 510,
            "Sun, He, Hou 2026, section 4; bandwidth: a quarter of an A100 80GB"),
    ]

    static let nvidia: [Device] = [
        device(
            "v100-16gb", gigabytes: 16, teraflops: 125, gigabytesPerSecond: 900,
            "NVIDIA V100 datasheet (SXM2)"),
        device(
            "v100-32gb", gigabytes: 32, teraflops: 125, gigabytesPerSecond: 900,
            "NVIDIA V100 datasheet (SXM2)"),
        device("t4", gigabytes: 16, teraflops: 65, gigabytesPerSecond: 300, "NVIDIA T4 datasheet"),
        device("a10", gigabytes: 24, teraflops: 125, gigabytesPerSecond: 600, "NVIDIA A10 datasheet"),
        device("a30", gigabytes: 24, teraflops: 165, gigabytesPerSecond: 933, "NVIDIA A30 datasheet"),
        device("a40", gigabytes: 48, teraflops: 149.7, gigabytesPerSecond: 696, "NVIDIA A40 datasheet"),
        device("a100-40gb", gigabytes: 40, teraflops: 312, gigabytesPerSecond: 1555, "NVIDIA A100 datasheet"),
        device(
            "a100-80gb", gigabytes: 80, teraflops: 312, gigabytesPerSecond: 2039,
            "NVIDIA A100 datasheet (SXM)"),
        device(
            "a100-80gb-pcie", gigabytes: 80, teraflops: 312, gigabytesPerSecond: 1935,
            "NVIDIA A100 datasheet (PCIe)"),
        device(
            "h100-80gb", gigabytes: 80, teraflops: 989.4, gigabytesPerSecond: 3350,
            "NVIDIA H100 datasheet (SXM), without sparsity"),
        device(
            "h100-80gb-pcie", gigabytes: 80, teraflops: 756, gigabytesPerSecond: 2000,
            "NVIDIA H100 PCIe product brief, without sparsity"),
        device(
            "h200", gigabytes: 141, teraflops: 989.4, gigabytesPerSecond: 4800,
            "NVIDIA H200 datasheet (SXM), without sparsity"),
        device(
            "l4", gigabytes: 24, teraflops: 121, gigabytesPerSecond: 300,
            "NVIDIA L4 datasheet, without sparsity"),
        device(
            "l40", gigabytes: 48, teraflops: 181, gigabytesPerSecond: 864,
            "NVIDIA L40 datasheet, without sparsity"),
        device(
            "l40s", gigabytes: 48, teraflops: 362, gigabytesPerSecond: 864,
            "NVIDIA L40S datasheet, without sparsity"),
        device(
            "rtx-a6000", gigabytes: 48, teraflops: 154.8, gigabytesPerSecond: 768,
            "NVIDIA RTX A6000 datasheet, without sparsity"),
        device(
            "rtx-6000-ada", gigabytes: 48, teraflops: 364.2, gigabytesPerSecond: 960,
            "NVIDIA RTX 6000 Ada datasheet, without sparsity"),
        device(
            "rtx-3090", gigabytes: 24, teraflops: 71, gigabytesPerSecond: 936,
            "NVIDIA Ampere GA102 whitepaper, FP16 with FP32 sums"),
        device(
            "rtx-4090", gigabytes: 24, teraflops: 165.2, gigabytesPerSecond: 1008,
            "NVIDIA Ada whitepaper, FP16 with FP32 sums"),
        device(
            "rtx-5090", gigabytes: 32, teraflops: 209.5, gigabytesPerSecond: 1792,
            "NVIDIA RTX Blackwell whitepaper, FP16 with FP32 sums"),
    ]

    static let amd: [Device] = [
        device(
            "mi210", gigabytes: 64, teraflops: 181, gigabytesPerSecond: 1638, "AMD Instinct MI210 data sheet"),
        device(
            "mi250", gigabytes: 128, teraflops: 362.1, gigabytesPerSecond: 3277,
            "AMD Instinct MI250 data sheet, both dies"),
        device(
            "mi250x", gigabytes: 128, teraflops: 383, gigabytesPerSecond: 3277,
            "AMD Instinct MI250X data sheet, both dies"),
        device(
            "mi300x", gigabytes: 192, teraflops: 1307.4, gigabytesPerSecond: 5300,
            "AMD Instinct MI300X data sheet"),
        device(
            "mi325x", gigabytes: 256, teraflops: 1307.4, gigabytesPerSecond: 6000,
            "AMD Instinct MI325X data sheet"),
    ]

    // MARK: Slices

    /// MIG profiles of the NVIDIA MIG user guide: compute in sevenths, memory and bandwidth in eighths of the whole.
    private struct SlicedDevice {
        var whole: String
        var source: String
        /// Name after the whole's family, sevenths of its compute, eighths of its memory, gigabytes.
        var profiles: [(name: String, sevenths: Int, eighths: Int, gigabytes: Int)]
    }

    private static let sliced: [SlicedDevice] = [
        SlicedDevice(
            whole: "a100-40gb", source: "NVIDIA MIG user guide, A100 40GB",
            profiles: [
                ("a100-1g.5gb", 1, 1, 5), ("a100-2g.10gb", 2, 2, 10), ("a100-3g.20gb", 3, 4, 20),
                ("a100-4g.20gb", 4, 4, 20), ("a100-7g.40gb", 7, 8, 40),
            ]),
        SlicedDevice(
            whole: "a100-80gb", source: "NVIDIA MIG user guide, A100 80GB",
            profiles: [
                ("a100-1g.10gb", 1, 1, 10), ("a100-1g.20gb", 1, 2, 20), ("a100-4g.40gb", 4, 4, 40),
                ("a100-7g.80gb", 7, 8, 80),
            ]),
        SlicedDevice(
            whole: "h100-80gb", source: "NVIDIA MIG user guide, H100 80GB",
            profiles: [
                ("h100-1g.10gb", 1, 1, 10), ("h100-1g.20gb", 1, 2, 20), ("h100-2g.20gb", 2, 2, 20),
                ("h100-3g.40gb", 3, 4, 40), ("h100-4g.40gb", 4, 4, 40), ("h100-7g.80gb", 7, 8, 80),
            ]),
        SlicedDevice(
            whole: "h200", source: "NVIDIA MIG user guide, H200 141GB",
            profiles: [
                ("h200-1g.18gb", 1, 1, 18), ("h200-1g.35gb", 1, 2, 35), ("h200-2g.35gb", 2, 2, 35),
                ("h200-3g.71gb", 3, 4, 71), ("h200-4g.71gb", 4, 4, 71), ("h200-7g.141gb", 7, 8, 141),
            ]),
    ]

    static let slices: [Device] = sliced.flatMap { device -> [Device] in
        let whole = nvidia.first { $0.name == device.whole }
        return device.profiles.map { profile -> Device in
            Device(
                name: profile.name, memory: ByteCount(profile.gigabytes * 1_000_000_000),
                operationsPerSecond: (whole?.operationsPerSecond ?? 0) * Double(profile.sevenths) / 7,
                bytesPerSecond: (whole?.bytesPerSecond ?? 0) * Double(profile.eighths) / 8,
                source:
                    "\(device.source); \(profile.sevenths)/7 of the compute, \(profile.eighths)/8 of the memory"
            )
        }
    }

    // MARK: Apple silicon

    /// Unified memory comes in several sizes: a cluster file has to give it. Largest GPU of each chip.
    static let apple: [Device] = [
        stated("m1", 2.6, 68), stated("m1-pro", 5.2, 200), stated("m1-max", 10.4, 400),
        stated("m1-ultra", 21, 800), stated("m2", 3.6, 100), stated("m2-pro", 6.8, 200),
        stated("m2-max", 13.6, 400), stated("m2-ultra", 27.2, 800),
        assumed("m3", 10, 1.4, 100), assumed("m3-pro", 18, 1.4, 150), assumed("m3-max", 40, 1.4, 400),
        assumed("m3-ultra", 80, 1.4, 819), assumed("m4", 10, 1.5, 120), assumed("m4-pro", 20, 1.5, 273),
        assumed("m4-max", 40, 1.5, 546),
    ]

    private static func stated(_ name: String, _ teraflops: Double, _ bandwidth: Double) -> Device {
        device(
            name, gigabytes: nil, teraflops: teraflops, gigabytesPerSecond: bandwidth,
            "Apple newsroom, \(name), 32-bit")
    }

    /// Apple states cores and bandwidth of these, but neither FLOP/s nor the clock.
    private static func assumed(
        _ name: String, _ cores: Int, _ gigahertz: Double, _ bandwidth: Double
    ) -> Device {
        let teraflops = Double(cores) * 256 * gigahertz / 1000
        return device(
            name, gigabytes: nil, teraflops: teraflops, gigabytesPerSecond: bandwidth,
            "Apple technical specifications, \(cores) GPU cores; FLOP/s assumed: 256 a core and cycle, \(gigahertz) GHz"
        )
    }
}
