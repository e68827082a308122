import ChainModel

/// The figures themselves. Memory in decimal gigabytes as the makers state it, TFLOP/s dense, GB/s.
///
/// A source names the document that states a figure. Where a maker states TFLOP/s with 2:4 sparsity only, half of it is
/// taken and the source says so. GeForce cards add FP16 products up in FP32 at half rate: that rate is the one given.
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
        device(
            "t4", gigabytes: 16, teraflops: 65, gigabytesPerSecond: 300,
            "NVIDIA T4 datasheet, FP16 with FP32 sums"),
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
            "NVIDIA H100 architecture whitepaper (SXM5); bandwidth: NVIDIA H100 datasheet"),
        device(
            "h100-80gb-pcie", gigabytes: 80, teraflops: 756, gigabytesPerSecond: 2000,
            "NVIDIA H100 architecture whitepaper (PCIe)"),
        device(
            "h200", gigabytes: 141, teraflops: 989.4, gigabytesPerSecond: 4800,
            "NVIDIA H200 datasheet (SXM); TFLOP/s: that of the same chip, NVIDIA H100 architecture whitepaper"
        ),
        device(
            "b200", gigabytes: 180, teraflops: 2250, gigabytesPerSecond: 7700,
            "NVIDIA Blackwell datasheet (HGX B200); half of the 4.5 PFLOP/s with sparsity"),
        device(
            "l4", gigabytes: 24, teraflops: 121, gigabytesPerSecond: 300,
            "NVIDIA L4 datasheet; half of the 242 TFLOP/s with sparsity"),
        device(
            "l40", gigabytes: 48, teraflops: 181.05, gigabytesPerSecond: 864,
            "NVIDIA L40 datasheet, the figure without sparsity"),
        device(
            "l40s", gigabytes: 48, teraflops: 362.05, gigabytesPerSecond: 864,
            "NVIDIA L40S datasheet, the figure without sparsity"),
        device(
            "rtx-a6000", gigabytes: 48, teraflops: 154.8, gigabytesPerSecond: 768,
            "NVIDIA RTX A6000 datasheet; half of the 309.7 TFLOP/s with sparsity"),
        device(
            "rtx-6000-ada", gigabytes: 48, teraflops: 364.2, gigabytesPerSecond: 960,
            "NVIDIA RTX 6000 Ada datasheet; a quarter of the 1457 TFLOP/s in FP8 with sparsity"),
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

    /// A device and its profiles in the NVIDIA MIG user guide ("Supported MIG Profiles").
    private struct SlicedDevice {
        var whole: String
        /// What one compute slice has of the whole's multiprocessors.
        var computeSlice: (part: Int, of: Int)
        /// Memory slices of the whole; bandwidth goes with them.
        var memorySlices: Int
        /// Name after the whole's family, slices of compute and of memory, gigabytes in the profile's name.
        var profiles: [(name: String, compute: Int, memory: Int, gigabytes: Int)]
    }

    /// An A100 keeps 98 of its 108 multiprocessors under MIG, 14 a slice, as `nvidia-smi mig -lgip` lists them in the
    /// guide; this agrees with the 120 and 80 TFLOP/s of the paper. For the others the guide states sevenths, for A30
    /// quarters.
    private static let sliced: [SlicedDevice] = [
        SlicedDevice(
            whole: "a30", computeSlice: (1, 4), memorySlices: 4,
            profiles: [("a30-1g.6gb", 1, 1, 6), ("a30-2g.12gb", 2, 2, 12), ("a30-4g.24gb", 4, 4, 24)]),
        SlicedDevice(
            whole: "a100-40gb", computeSlice: (14, 108), memorySlices: 8,
            profiles: [
                ("a100-1g.5gb", 1, 1, 5), ("a100-2g.10gb", 2, 2, 10), ("a100-3g.20gb", 3, 4, 20),
                ("a100-4g.20gb", 4, 4, 20), ("a100-7g.40gb", 7, 8, 40),
            ]),
        SlicedDevice(
            whole: "a100-80gb", computeSlice: (14, 108), memorySlices: 8,
            profiles: [
                ("a100-1g.10gb", 1, 1, 10), ("a100-1g.20gb", 1, 2, 20), ("a100-4g.40gb", 4, 4, 40),
                ("a100-7g.80gb", 7, 8, 80),
            ]),
        SlicedDevice(
            whole: "h100-80gb", computeSlice: (1, 7), memorySlices: 8,
            profiles: [
                ("h100-1g.10gb", 1, 1, 10), ("h100-1g.20gb", 1, 2, 20), ("h100-2g.20gb", 2, 2, 20),
                ("h100-3g.40gb", 3, 4, 40), ("h100-4g.40gb", 4, 4, 40), ("h100-7g.80gb", 7, 8, 80),
            ]),
        SlicedDevice(
            whole: "h200", computeSlice: (1, 7), memorySlices: 8,
            profiles: [
                ("h200-1g.18gb", 1, 1, 18), ("h200-1g.35gb", 1, 2, 35), ("h200-2g.35gb", 2, 2, 35),
                ("h200-3g.71gb", 3, 4, 71), ("h200-4g.71gb", 4, 4, 71), ("h200-7g.141gb", 7, 8, 141),
            ]),
        SlicedDevice(
            whole: "b200", computeSlice: (1, 7), memorySlices: 8,
            profiles: [
                ("b200-1g.23gb", 1, 1, 23), ("b200-1g.45gb", 1, 2, 45), ("b200-2g.45gb", 2, 2, 45),
                ("b200-3g.90gb", 3, 4, 90), ("b200-4g.90gb", 4, 4, 90), ("b200-7g.180gb", 7, 8, 180),
            ]),
    ]

    static let slices: [Device] = sliced.flatMap { device -> [Device] in
        let whole = nvidia.first { $0.name == device.whole }
        return device.profiles.map { profile -> Device in
            let (part, of) = device.computeSlice
            let compute = (part: part * profile.compute, of: of)
            let memory = Double(profile.memory) / Double(device.memorySlices)
            return Device(
                name: profile.name, memory: ByteCount(profile.gigabytes * 1_000_000_000),
                operationsPerSecond: (whole?.operationsPerSecond ?? 0) * Double(compute.part)
                    / Double(compute.of),
                bytesPerSecond: (whole?.bytesPerSecond ?? 0) * memory,
                source: "NVIDIA MIG user guide: \(compute.part)/\(compute.of) of the multiprocessors, "
                    + "\(profile.memory)/\(device.memorySlices) of the memory of \(device.whole)"
            )
        }
    }

    // MARK: Apple silicon

    /// Unified memory comes in several sizes: a cluster file has to give it. Largest GPU of each chip.
    static let apple: [Device] = [
        stated("m1", 2.6, 68.25), stated("m1-pro", 5.2, 200), stated("m1-max", 10.4, 400),
        stated("m1-ultra", 21, 800), stated("m2", 3.6, 100),
        derived("m2-pro", 19, 1.398, 200), derived("m2-max", 38, 1.398, 400),
        derived("m2-ultra", 76, 1.398, 800),
        derived("m3", 10, 1.398, 100), derived("m3-pro", 18, 1.398, 150), derived("m3-max", 40, 1.398, 400),
        derived("m3-ultra", 80, 1.398, 819),
        derived("m4", 10, 1.47, 120), derived("m4-pro", 20, 1.47, 273), derived("m4-max", 40, 1.47, 546),
    ]

    private static func stated(_ name: String, _ teraflops: Double, _ bandwidth: Double) -> Device {
        device(
            name, gigabytes: nil, teraflops: teraflops, gigabytesPerSecond: bandwidth,
            "Apple's announcement of the chip, 32-bit")
    }

    /// Apple states cores and bandwidth of these, but neither FLOP/s nor the clock: the lowest clock that others measured
    /// is taken (M4: 1.47 to 1.68 GHz are reported).
    private static func derived(
        _ name: String, _ cores: Int, _ gigahertz: Double, _ bandwidth: Double
    ) -> Device {
        let teraflops = Double(cores) * 256 * gigahertz / 1000
        return device(
            name, gigabytes: nil, teraflops: teraflops, gigabytesPerSecond: bandwidth,
            "Apple technical specifications, \(cores) GPU cores; FLOP/s not stated by Apple: 256 a core and cycle at "
                + "\(gigahertz) GHz, as measured by others"
        )
    }
}
