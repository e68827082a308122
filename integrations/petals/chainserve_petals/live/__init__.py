"""The side-by-side experiment on live systems: what `chainserve experiment live` runs, measures and writes down."""
