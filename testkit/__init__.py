"""What tests, proofs and benchmarks make and start: datasets, models, pictures, processes."""
