"""What the benchmarks share: environments of the peers, settings, races between processes, ratios, result files."""
