"""The coordinating side: run config, run folder, round loop, checkpoints and comparison reports."""
