import Testing

/// Every test of this target starts processes that compute, so one runs after another.
@Suite("Command line", .serialized)
enum CommandLineSuite {}
