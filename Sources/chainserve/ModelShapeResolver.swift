import ChainFormats
import ChainModel

/// Reads what the planner needs to know from a model file.
func modelShape(of reference: GGUFReference) throws -> ModelShape {
    throw UnreadableModel(path: reference.path)
}

/// A model file that this build cannot read.
struct UnreadableModel: Error, CustomStringConvertible {
    var path: String
    var description: String {
        "\(path): reading GGUF comes with the engine; give the model's shape in numbers"
    }
}
