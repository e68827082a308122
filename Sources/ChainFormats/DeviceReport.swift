import ChainModel

/// The device catalogue for people and for programs.
public enum DeviceReport {
    /// A row for each device.
    public static var text: String {
        let rows = DeviceCatalogue.devices.map { device in
            [
                device.name, device.memory.map { PlanReport.memory($0) } ?? "varies",
                "\(PlanReport.significant(device.operationsPerSecond / 1e12)) TFLOP/s",
                "\(PlanReport.significant(device.bytesPerSecond / 1e9)) GB/s", device.source,
            ]
        }
        let all = [["device", "memory", "prefill", "bandwidth", "source"]] + rows
        let widths = (0..<4).map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            zip(row, widths + [0]).map { text, width in
                text + String(repeating: " ", count: max(0, width - text.count))
            }.joined(separator: "  ") + "\n"
        }.joined()
    }

    /// A list of objects: `name`, `memory` in bytes or null, `operations_per_second`, `bytes_per_second`, `source`.
    public static var json: JSONText {
        .list(
            DeviceCatalogue.devices.map { device in
                .object([
                    ("name", .text(device.name)),
                    ("memory", device.memory.map { .integer($0.rawValue) } ?? .null),
                    ("operations_per_second", .number(device.operationsPerSecond)),
                    ("bytes_per_second", .number(device.bytesPerSecond)), ("source", .text(device.source)),
                ])
            })
    }
}
