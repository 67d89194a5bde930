"""FedHCA2: hetero-client federated multi-task learning (Lu et al., CVPR 2024, arXiv 2311.13250; methods.md 1.10)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fmtl_strategies.maths.fedhca2 import (
    DecoderReport,
    DecoderState,
    EncoderReport,
    EncoderState,
    decoder_round,
    encoder_round,
)
from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters
from fmtl_strategies.maths.hyper_weights import HyperWeights
from fmtl_strategies.maths.segments import Segments
from fmtl_strategies.round.base import PersonalizedStrategy, StateArrays
from fmtl_strategies.round.store import PoolRound
from fmtl_strategies.settings import RunConfig


class FedHCA2(PersonalizedStrategy[FedHCA2Parameters]):
    """Conflict-averse encoder aggregation, cross-attention over decoders, learned shares of both; heads stay.

    Lu, Huang, Yang, Sirejiding, Ding, Lu: FedHCA2: Towards Hetero-Client Federated Multi-Task Learning, CVPR 2024,
    arXiv 2311.13250; code innovator-zero/FedHCA2, from which all constants are (the paper gives none but c in [0, 1]).

    Equations: encoders Eq. 6-10, decoders Eq. 12-14, weights Eq. 15-17. Differences between paper and code, and what
    each `mode` does about them, stand in `fmtl_strategies/maths/fedhca2.py`. Deviations of all modes: encoders are
    aggregated within one architecture; clients are ordered by name; updates arrive rounded to bfloat16 unless
    `upload-format = "float32"`.

    Partial participation (undefined in the paper): the rows that answered aggregate among themselves; a row's weight
    steps only if it took part in the aggregation before; a row that stays away keeps parameters, weight and momentum;
    a new row starts with the initial weight.
    """

    name = "fedhca2"
    summary_line = "own update plus learned shares of conflict-averse encoders and attended decoders"
    shared_kinds = ("encoder", "decoders")

    def __init__(self, settings: RunConfig, parameters: FedHCA2Parameters | None = None) -> None:
        super().__init__(settings, parameters)
        self.encoders: dict[str, EncoderState] = {}
        self.decoders: dict[str, DecoderState] = {}

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Add to every row its own update and its share of the aggregate."""
        if pool.kind == "encoder":
            return self._aggregate_encoders(pool)
        keys = [f"{key.client}/{key.task}" for key in pool.rows]
        segments = Segments.of((spec.name, spec.size) for spec in pool.layout.arrays)
        state = self.decoders.get(pool.signature, DecoderState())
        self.decoders[pool.signature], report = decoder_round(
            pool.parameters_nd, pool.updates_nd, state, self.parameters, row_keys=keys, segments=segments
        )
        return {} if report is None else pool.labelled(_decoder_diagnostics(keys, segments, report))

    def _aggregate_encoders(self, pool: PoolRound) -> dict[str, float]:
        clients = [key.client for key in pool.rows]
        same = [f"{pool.profiles[c].dataset}:{','.join(sorted(pool.profiles[c].task_names))}" for c in clients]
        state = self.encoders.get(pool.signature, EncoderState())
        self.encoders[pool.signature], report = encoder_round(
            pool.parameters_nd,
            pool.updates_nd,
            state,
            self.parameters,
            row_keys=clients,
            same_group=same,
            gram_nn=pool.gram_nn,
        )
        return {} if report is None else pool.labelled(_encoder_diagnostics(clients, report))

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return weights, momenta, and the aggregates the next round's weight step needs."""
        arrays: StateArrays = {}
        values: dict[str, Any] = {"encoders": {}, "decoders": {}}
        for signature, encoder in self.encoders.items():
            values["encoders"][signature] = _weights_state(encoder.alpha, encoder.participants)
            if encoder.aggregate_d is not None:
                arrays[f"encoders/{signature}"] = encoder.aggregate_d
        for signature, decoder in self.decoders.items():
            values["decoders"][signature] = _weights_state(decoder.beta, decoder.participants)
            if decoder.aggregates_kd is not None:
                arrays[f"decoders/{signature}"] = decoder.aggregates_kd[: len(decoder.participants)]
        return arrays, values

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `method_state` returned."""
        aggregates = {name: np.array(array, dtype=np.float32) for name, array in arrays.items()}
        for signature, saved in values["encoders"].items():
            weights, rows = _weights_of(saved)
            self.encoders[signature] = EncoderState(weights, aggregates.get(f"encoders/{signature}"), rows)
        for signature, saved in values["decoders"].items():
            weights, rows = _weights_of(saved)
            self.decoders[signature] = DecoderState(weights, aggregates.get(f"decoders/{signature}"), rows)


def _weights_state(weights: HyperWeights, participants: tuple[str, ...]) -> dict[str, Any]:
    return {
        "values": {key: value.tolist() for key, value in weights.values.items()},
        "momenta": {key: value.tolist() for key, value in weights.momenta.items()},
        "participants": list(participants),
    }


def _weights_of(saved: Mapping[str, Any]) -> tuple[HyperWeights, tuple[str, ...]]:
    values, momenta = (
        {key: np.array(row, dtype=np.float64) for key, row in saved[name].items()} for name in ("values", "momenta")
    )
    return HyperWeights(values, momenta), tuple(saved["participants"])


def _encoder_diagnostics(clients: list[str], report: EncoderReport) -> dict[str, float]:
    found = {"solve-gap": float(report.gap)}
    off_diagonal = report.cosines[~np.eye(len(clients), dtype=bool)]
    if off_diagonal.size:
        found["cosine-mean"], found["cosine-min"] = float(off_diagonal.mean()), float(off_diagonal.min())
    for i, client in enumerate(clients):
        found[f"{client}/alpha"] = float(report.alpha[i])
        found[f"{client}/conflict-weight"] = float(report.conflict_weights[i])
        if np.isfinite(report.step_ratio[i]):
            found[f"{client}/step-ratio"] = float(report.step_ratio[i])
    return found


def _decoder_diagnostics(keys: list[str], segments: Segments, report: DecoderReport) -> dict[str, float]:
    found = {f"attention-entropy/{name}": float(value) for name, value in report.entropy.items()}
    for i, key in enumerate(keys):
        for j, layer in enumerate(segments.layers):
            found[f"{key}/beta/{layer}"] = float(report.beta[i, j])
    return found
