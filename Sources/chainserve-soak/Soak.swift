import ChainFaults
import Foundation

/// Runs the fault simulation over seeds and says what came of it.
///
///     chainserve-soak --seeds 1..1000          a line per broken seed, and a summary
///     chainserve-soak --seed 7 --transcript    every event of one seed
@main
struct Soak {
    static func main() {
        do {
            let command = try SoakCommand(CommandLine.arguments.dropFirst())
            exit(command.run() ? 0 : 1)
        } catch {
            FileHandle.standardError.write(Data("chainserve-soak: \(error)\n\(SoakCommand.usage)\n".utf8))
            exit(2)
        }
    }
}
