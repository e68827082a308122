"""ChainServe over PETALS: a worker that speaks ChainServe's wire protocol for PETALS servers."""
