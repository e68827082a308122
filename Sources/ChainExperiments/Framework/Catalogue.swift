/// All experiments, in the order of the report.
package enum Catalogue {
    package static var experiments: [any Experiment] {
        [
            Figure1(), Figure2(), Figure3(), Figure4(), Figure5(), SystemsFigure(), Figure7(),
            SystemsTable(), Assumptions(),
        ]
    }

    /// - Parameter name: of one experiment, or `all`.
    package static func named(_ name: String) throws(ExperimentError) -> [any Experiment] {
        let all = experiments
        if name == "all" { return all }
        guard let found = all.first(where: { $0.name == name }) else {
            throw .unknownExperiment(name, known: all.map(\.name))
        }
        return [found]
    }
}
