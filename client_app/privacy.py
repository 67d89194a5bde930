"""Noise on what a client uploads, and an account of what all its uploads have given away.

The client does this itself, before anything leaves it, so its privacy rests on no promise of the coordinator. The
guarantee is about the client's whole data set: from all uploads together, whoever sees them learns little about which
data set it has (local differential privacy at the level of the client). Every upload is one Gaussian mechanism with
sensitivity 2 clip; the account composes them over all rounds and runs of the client by Renyi differential privacy
(Mironov 2017), with Google's dp-accounting.

What is done with an upload afterwards (masking, rounding to bfloat16) cannot weaken the guarantee. Not covered: what
the profile says (numbers of images, tasks), times of arrival, and scores where the client sends them. The noise comes
from NumPy's PCG64 seeded by the operating system, which is not a cryptographic generator.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fmtl_datasets.shared.privacy import Privacy

from client_app.training.errors import DeviceError, PrivacyError, StateError
from fmtl_strategies.contract.files import DiskFullError, write_json
from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.flower_compat import log

_BLOCK = 1 << 20


def fresh_generator() -> np.random.Generator:
    """Return a generator whose seed nobody knows.

    It must not follow from the run's seed, which the coordinator knows, nor be the same when a round is trained again:
    equal noise on two uploads would cancel in their difference.
    """
    return np.random.Generator(np.random.PCG64(secrets.randbits(256)))


def privatise(
    updates: Mapping[str, FloatArray], privacy: Privacy, generator: np.random.Generator
) -> dict[str, FloatArray]:
    """Shorten an upload to the clipping norm and add noise.

    Args:
        updates: (D,) float32 by group; together one upload.
        privacy: clipping norm and noise.
        generator: source of the noise.

    Returns:
        New (D,) float32 vectors by group.

    Raises:
        PrivacyError: a value is NaN or infinite, which no clipping bounds.
    """
    norm = math.sqrt(sum(_squared_norm(flat) for flat in updates.values()))
    if not math.isfinite(norm):
        raise PrivacyError("an update holds NaN or infinite values, which clipping cannot bound; nothing was uploaded")
    scale = min(1.0, privacy.clip / norm) if norm else 1.0
    deviation = 2 * privacy.clip * privacy.noise
    private: dict[str, FloatArray] = {}
    for group in sorted(updates):
        flat = (updates[group] * np.float32(scale)).astype(np.float32)
        for start in range(0, flat.size, _BLOCK):
            part = flat[start : start + _BLOCK]
            part += (deviation * generator.standard_normal(part.size)).astype(np.float32)
        private[group] = flat
    return private


@dataclass(frozen=True)
class Account:
    """All uploads of a client so far, over all runs that use one state folder.

    Attributes:
        uploads: how many were made with each noise multiplier.
    """

    uploads: Mapping[float, int]

    def with_upload(self, noise: float) -> Account:
        """Return the account after one more upload."""
        return Account({**self.uploads, noise: self.uploads.get(noise, 0) + 1})

    @property
    def count(self) -> int:
        """Number of uploads."""
        return sum(self.uploads.values())

    def epsilon(self, delta: float) -> float:
        """Return the epsilon of all uploads together at this delta; 0 before the first.

        Raises:
            PrivacyError: dp-accounting is not installed.
        """
        if not self.uploads:
            return 0.0
        try:
            # Takes about a second, which clients without privacy need not spend.
            from dp_accounting import dp_event, rdp
        except ImportError as error:
            raise PrivacyError(
                f"the package dp-accounting, which 'privacy' needs, cannot be imported ({error}); without it nobody "
                f"knows what has been given away, so nothing is uploaded. Install it: `pip install dp-accounting`"
            ) from error
        accountant = rdp.RdpAccountant()
        for noise, count in sorted(self.uploads.items()):
            accountant.compose(dp_event.GaussianDpEvent(noise), count)
        return float(accountant.get_epsilon(delta))


def account_file(state_root: Path, client: str) -> Path:
    """Return where a client's privacy is accounted for, over all runs that use one state folder."""
    return state_root / "privacy" / f"{client}.json"


def read_account(path: Path) -> Account:
    """Read a client's account; an empty one where there is none yet.

    Raises:
        PrivacyError: it is damaged; uploads without an account would have no meaning.
    """
    if not path.is_file():
        return Account({})
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Account({float(item["noise"]): int(item["uploads"]) for item in content["uploads"]})
    except (ValueError, KeyError, TypeError) as error:
        raise PrivacyError(
            f"the account of privacy {path} is damaged ({error}). Without it nobody knows what has been given away: "
            f"restore it from a backup, or start with a new client name and data that was never used."
        ) from error


def write_account(path: Path, account: Account) -> None:
    """Write a client's account, whole or not at all; to be called before an upload leaves the client."""
    path.parent.mkdir(parents=True, exist_ok=True)
    uploads = [{"noise": noise, "uploads": count} for noise, count in sorted(account.uploads.items())]
    write_json(path, {"uploads": uploads})


def require_budget(account: Account, privacy: Privacy, client: str) -> None:
    """Refuse an upload that would exceed the client's limit, or that could not be accounted for.

    Raises:
        PrivacyError: says how much is spent and what the limit is; or dp-accounting is not installed.
    """
    after = account.with_upload(privacy.noise).epsilon(privacy.delta)
    if privacy.epsilon is not None and after > privacy.epsilon:
        raise PrivacyError(
            f"client {client}: one more upload would bring its privacy loss to epsilon {after:.3g} at delta "
            f"{privacy.delta:g}, and its limit is {privacy.epsilon:g}; it uploads nothing more"
        )


def keep_variances(
    private: Mapping[str, FloatArray], arrived: Mapping[str, FloatArray], layouts: Mapping[str, GroupLayout]
) -> dict[str, FloatArray]:
    """Return noisy updates that leave no variance of a batch norm below 0 where the coordinator knows the start.

    An update of a group that did not arrive is counted from the client's own values. A limit that depends on them
    would show them without noise, so such an update is left as the noise made it.

    Args:
        private: noisy updates, (D,) float32 by group.
        arrived: what came from the coordinator, and nothing of the client's own.
        layouts: of the groups.
    """
    kept = dict(private)
    for group, flat in private.items():
        if kind_of(group) != "buffers" or group not in arrived:
            continue
        arrays = layouts[group].unpack(flat)
        lowest = {name: -start for name, start in layouts[group].unpack(arrived[group]).items()}
        parts = [
            np.maximum(array, lowest[name]) if name.endswith("running_var") else array for name, array in arrays.items()
        ]
        kept[group] = np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32)
    return kept


@contextmanager
def reasons_kept(privacy: Privacy | None, client: str) -> Iterator[None]:
    """Keep the text of an error at a client that asks for privacy: it may tell of values computed from its data.

    Errors about the machine only (device, state, full disk) pass as they are.

    Args:
        privacy: what the client asks for; None where it asks for none.
        client: its name.

    Raises:
        PrivacyError: something went wrong inside the block; the client's log has the reason.
    """
    try:
        yield
    except (DeviceError, StateError, DiskFullError):
        raise
    except Exception as error:
        if privacy is None:
            raise
        log(logging.ERROR, "client %s: the round failed: %s: %s", client, type(error).__name__, error)
        raise PrivacyError(
            f"client {client}: the round failed and nothing was uploaded. The reason may tell of the client's data and "
            f"stays in the client's log, because it asks for privacy"
        ) from error


def _squared_norm(flat: FloatArray) -> float:
    blocks = (flat[start : start + _BLOCK].astype(np.float64) for start in range(0, flat.size, _BLOCK))
    return float(sum(float(np.dot(block, block)) for block in blocks))
