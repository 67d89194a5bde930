"""Scripts that measure; each runs from a checkout, `python benchmarks/NAME.py`."""
