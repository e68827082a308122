import Testing

@testable import ChainFaults

@Suite struct FaultTests {
}
