"""FedHCA2 rounds: modes, ablations, rows that come and go, bad rows."""

import numpy as np
import pytest

from fmtl_strategies.maths.fedhca2 import DecoderState, EncoderState, decoder_round, encoder_round
from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters
from fmtl_strategies.maths.rows import Float32Array, NonFiniteRowError
from fmtl_strategies.maths.segments import Segments

SEGMENTS = Segments.of([("linears.0.bias", 10), ("linears.0.weight", 90), ("fuse.weight", 100)])
MODES = ["reference", "paper", "stable"]


def rows(count: int, seed: int) -> Float32Array:
    return np.random.default_rng(seed).standard_normal((count, 200), dtype=np.float32)


def test_absent_row_gets_no_weight_update_and_keeps_its_weight_until_it_returns() -> None:
    settings, state = FedHCA2Parameters(), EncoderState()
    small = np.float32(0.05)
    for names in (["a", "b", "c"], ["a", "b", "c"]):
        state, _ = encoder_round(rows(3, 0), small * rows(3, 1), state, settings, row_keys=names)
    kept = state.alpha.values["b"].copy()
    state, _ = encoder_round(rows(2, 0), small * rows(2, 2), state, settings, row_keys=["a", "c"])
    state, report = encoder_round(rows(3, 0), small * rows(3, 3), state, settings, row_keys=["a", "b", "c"])
    assert report.alpha[1] == kept[0] == state.alpha.values["b"][0]
    before = state.alpha.values["b"].copy()
    state, report = encoder_round(rows(3, 0), small * rows(3, 4), state, settings, row_keys=["b", "a", "new"])
    assert state.alpha.values["b"] != before
    assert report.alpha[2] == 0.1


@pytest.mark.parametrize("mode", MODES)
def test_client_order_does_not_change_what_each_client_receives(mode: str) -> None:
    settings, order = FedHCA2Parameters(mode=mode), [2, 0, 3, 1]
    names, first, second = ["a", "b", "c", "d"], rows(4, 0), rows(4, 0)[order]
    state, other = EncoderState(), EncoderState()
    decoders, shuffled = DecoderState(), DecoderState()
    for seed in (1, 2):
        updates = np.float32(0.1) * rows(4, seed)
        mixed, moved = updates[order].copy(), [names[index] for index in order]
        state, _ = encoder_round(first, updates, state, settings, row_keys=names)
        other, _ = encoder_round(second, mixed, other, settings, row_keys=moved)
        decoders, _ = decoder_round(first, updates, decoders, settings, row_keys=names, segments=SEGMENTS)
        shuffled, _ = decoder_round(second, mixed, shuffled, settings, row_keys=moved, segments=SEGMENTS)
    np.testing.assert_allclose(second, first[order], rtol=1e-4, atol=1e-4)


def test_same_group_mean_takes_members_wherever_they_stand_and_none_in_paper() -> None:
    updates, labels = rows(3, 1), ["x", "y", "x"]
    received = {}
    for mode in MODES:
        parameters = np.zeros((3, 200), dtype=np.float32)
        settings = FedHCA2Parameters(mode=mode, alpha_initial=0.0, weights="fixed")
        encoder_round(parameters, updates, EncoderState(), settings, row_keys=list("abc"), same_group=labels)
        received[mode] = parameters
    np.testing.assert_allclose(received["paper"], updates, rtol=1e-6)
    for mode in ("reference", "stable"):
        for row in (0, 2):
            np.testing.assert_allclose(received[mode][row], (updates[0] + updates[2]) / 2, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(received[mode][1], updates[1], rtol=1e-6)


@pytest.mark.parametrize("hyper_gradient", ["inner-product", "cosine"])
def test_betas_are_those_of_separate_float64_products_while_decoders_come_and_go(hyper_gradient: str) -> None:
    settings = FedHCA2Parameters(mode="stable", hyper_gradient=hyper_gradient)  # type: ignore[arg-type]
    state, last, beta, momentum = DecoderState(), {}, {}, {}
    for number, names in enumerate(["abcd", "abd", "ad", "abcd", "cdef"]):
        updates = np.float32(0.02) * rows(len(names), number)
        for row, name in enumerate(names):
            beta.setdefault(name, np.full(2, 0.1))
            if name not in last:
                continue
            parts = [
                (last[name][span], updates[row, span].astype(np.float64)) for span in (slice(100), slice(100, 200))
            ]
            products = np.array([one @ other for one, other in parts])
            if hyper_gradient == "cosine":
                products /= [np.linalg.norm(one) * np.linalg.norm(other) for one, other in parts]
            momentum[name] = 0.9 * momentum.get(name, 0.0) - products + 1e-4 * beta[name]
            beta[name] = np.clip(beta[name] - 0.01 * momentum[name], 0, 1)
        state, report = decoder_round(
            rows(len(names), 9), updates, state, settings, row_keys=list(names), segments=SEGMENTS
        )
        last = {name: state.aggregates_kd[row].astype(np.float64) for row, name in enumerate(names)}
        np.testing.assert_allclose(report.beta, [beta[name] for name in names], rtol=1e-6)


def test_decoders_of_later_rounds_reuse_the_aggregates_of_the_largest() -> None:
    state, kept = DecoderState(), None
    for names in ("abc", "ab", "bc", "abc"):
        state, _ = decoder_round(
            rows(len(names), 0),
            rows(len(names), 1),
            state,
            FedHCA2Parameters(),
            row_keys=list(names),
            segments=SEGMENTS,
        )
        kept = state.aggregates_kd if kept is None else kept
        assert state.aggregates_kd is kept


def alphas_and_betas(copies: int, **changes: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights after three rounds in which every vector consists of `copies` copies of itself."""
    settings = FedHCA2Parameters(mode="stable", learning_rate=1e-4, **changes)  # type: ignore[arg-type]
    segments = Segments.of([("linears.0.weight", 100 * copies), ("fuse.weight", 100 * copies)])
    encoders, decoders = EncoderState(), DecoderState()
    alpha = beta = np.zeros(0)
    for seed in (1, 2, 3):
        parameters, updates = (
            np.concatenate([np.tile(part, (1, copies)) for part in np.split(rows(3, number), 2, axis=1)], axis=1)
            for number in (0, seed)
        )
        encoders, report = encoder_round(parameters.copy(), updates, encoders, settings, row_keys=list("abc"))
        decoders, attended = decoder_round(
            parameters, updates, decoders, settings, row_keys=list("abc"), segments=segments
        )
        alpha, beta = report.alpha, attended.beta
    return alpha, beta


def test_normalised_hyper_gradient_is_free_of_the_vectors_dimension_and_the_published_one_is_not() -> None:
    # Cosine attention, because the published attention itself changes with the dimension.
    short, long = (alphas_and_betas(copies, hyper_gradient="cosine", attention_scale="cosine") for copies in (1, 50))
    for one, other in zip(short, long, strict=True):
        np.testing.assert_allclose(one - 0.1, other - 0.1, rtol=1e-3)
        assert (np.abs(one - 0.1) > 1e-7).all()
    small, large = (alphas_and_betas(copies, attention_scale="cosine") for copies in (1, 4))
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(4 * (one - 0.1), other - 0.1, rtol=1e-2, atol=1e-7)


def test_ablations_leave_out_one_part_or_freeze_the_weights() -> None:
    before, updates = rows(2, 0), rows(2, 1)
    encoder, decoder = before.copy(), before.copy()
    state, report = encoder_round(
        encoder, updates, EncoderState(), FedHCA2Parameters(parts="decoder"), row_keys=["a", "b"]
    )
    assert report is None
    np.testing.assert_allclose(encoder, before + updates, rtol=1e-6)
    decoder_round(
        decoder, updates, DecoderState(), FedHCA2Parameters(parts="encoder"), row_keys=["a", "b"], segments=SEGMENTS
    )
    np.testing.assert_allclose(decoder, before + updates, rtol=1e-6)
    fixed, state = FedHCA2Parameters(weights="fixed"), EncoderState()
    for seed in (1, 2):
        state, report = encoder_round(rows(2, 0), rows(2, seed), state, fixed, row_keys=["a", "b"])
    assert report.alpha.tolist() == [0.1, 0.1]


@pytest.mark.parametrize("mode", MODES)
def test_row_with_nan_is_named_and_nothing_changes(mode: str) -> None:
    settings, parameters, updates = FedHCA2Parameters(mode=mode), rows(3, 0), rows(3, 1)
    updates[1, 7] = np.nan
    before = parameters.copy()
    with pytest.raises(NonFiniteRowError) as caught:
        encoder_round(parameters, updates, EncoderState(), settings, row_keys=list("abc"))
    assert caught.value.rows == (1,)
    with pytest.raises(NonFiniteRowError):
        decoder_round(parameters, updates, DecoderState(), settings, row_keys=list("abc"), segments=SEGMENTS)
    assert (parameters == before).all()


@pytest.mark.parametrize("mode", MODES)
def test_one_client_and_zero_updates_stay_finite(mode: str) -> None:
    parameters, updates = rows(1, 0), rows(1, 1)
    encoder_round(parameters, updates, EncoderState(), FedHCA2Parameters(mode=mode), row_keys=["a"])
    zero, still = np.zeros((3, 200), dtype=np.float32), rows(3, 0)
    encoder_round(still, zero, EncoderState(), FedHCA2Parameters(mode=mode), row_keys=list("abc"))
    assert np.isfinite(parameters).all()
    assert (still == rows(3, 0)).all()
