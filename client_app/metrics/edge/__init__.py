"""odsF, the boundary score of the BSDS benchmark, on numpy and scipy alone.

Import from the modules (`ods.OdsF`, `protocol.EdgeProtocol`, `counts.image_counts`): this file imports nothing, so that
a worker process that only counts pixels does not load torch.
"""
