"""Seeds derived from what a draw is for, so that no draw depends on what was drawn before it."""

import hashlib
import json

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """Return a seed that depends on every part, their order and their types.

    Args:
        parts: for example run seed, client name, round, epoch and the purpose of the draw.

    Returns:
        An integer in [0, 2**63).
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator seeded from `parts` as in `derive_seed`."""
    return np.random.default_rng(np.random.SeedSequence(derive_seed(*parts)))


def torch_generator(*parts: int | str) -> torch.Generator:
    """Return a CPU torch generator seeded from `parts` as in `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))
