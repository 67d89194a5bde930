"""The pull to an anchor: exact against a float64 re-statement on a tiny net, and on a real client of small size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from errors import naming
from torch import Tensor, nn

from client_app.round import local_round
from client_app.round.local_round import Received
from client_app.training.batches import LocalData
from client_app.training.device import Arithmetic
from client_app.training.loop import Learner, RoundPlan, train_round
from client_app.training.optimiser import build_optimiser
from client_app.training.pull import attach
from fmtl_strategies.contract.groups import group_of, relative_name
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.rule import LocalRule, Phase, Pull
from fmtl_strategies.contract.settings import LocalSettings
from tests.support import tiny_client as tiny

PULLED = ("encoder", "decoders.t")
GROUPS = (*PULLED, "heads.t")
FACTORS = {"encoder": 1.0, "decoders.t": 2.0, "heads.t": 3.0}
SIZE, IMAGES, EPOCHS = 3, 5, 6
FORMS = ("coupled", "decoupled")


class Part(nn.Module):
    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))


class Line(nn.Module):
    """Predicts x . (1 w_encoder + 2 w_decoder + 3 w_head): a quadratic in all three with an easy gradient."""

    def __init__(self, starts: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.encoder = Part(starts["encoder"])
        self.decoders = nn.ModuleDict({"t": Part(starts["decoders.t"])})
        self.heads = nn.ModuleDict({"t": Part(starts["heads.t"])})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"t": image @ sum(FACTORS[group_of(name)] * w for name, w in self.named_parameters())}


class HalfSquares:
    loss_weight = 1.0

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return 0.5 * ((prediction - label) ** 2).mean()


def draw(purpose: int, *shape: int) -> np.ndarray:
    # Values that float32 holds, as anchors are sent.
    return np.random.default_rng(purpose).standard_normal(shape).astype(np.float32).astype(np.float64)


IMAGE, LABEL = draw(1, IMAGES, SIZE), draw(2, IMAGES)
STARTS = {group: draw(10 + i, SIZE) for i, group in enumerate(GROUPS)}
ANCHORS = {group: draw(20 + i, SIZE) for i, group in enumerate(PULLED)}


def line_data(dtype: torch.dtype, label_scale: float) -> LocalData:
    samples = [
        {"image": torch.tensor(x, dtype=dtype), "t": torch.tensor(y * label_scale, dtype=dtype)}
        for x, y in zip(IMAGE, LABEL, strict=True)
    ]
    return LocalData(samples, samples, tiny.unchanged, dict, tiny.stack, {})


def line_settings(**changes: Any) -> LocalSettings:
    values = {"encoder_learning_rate": 0.01, "decoder_learning_rate": 0.05, "weight_decay": 0.1}
    return LocalSettings(total_rounds=1, schedule="constant", **{**values, **changes})


def train_line(
    pull: Pull | None,
    *,
    scaler: torch.amp.GradScaler | None = None,
    optimiser: type[torch.optim.Optimizer] | None = None,
    dtype: torch.dtype = torch.float64,
    label_scale: float = 1.0,
) -> dict[str, np.ndarray]:
    model, settings = Line(STARTS).to(dtype), line_settings()
    made: torch.optim.Optimizer = build_optimiser(model, settings)
    if optimiser is not None:
        made = optimiser([{"params": g["params"], "lr": g["lr"]} for g in made.param_groups])  # type: ignore[call-arg]
    learner = Learner(
        model,
        made,
        scaler or torch.amp.GradScaler("cpu", enabled=False),
        Arithmetic(torch.device("cpu"), None),
        pull=attach(pull, model, {group: anchor.astype(np.float32) for group, anchor in ANCHORS.items()}),
    )
    plan = RoundPlan("line", 1, 0, EPOCHS, IMAGES, settings)
    train_round(learner, {"t": HalfSquares()}, line_data(dtype, label_scale), plan)  # type: ignore[dict-item]
    return {group_of(name): p.detach().numpy().copy() for name, p in model.named_parameters()}


def gradients(w: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    residuals = np.array([sum(x @ (FACTORS[g] * w[g]) for g in GROUPS) - y for x, y in zip(IMAGE, LABEL, strict=True)])
    total = sum(r * x for r, x in zip(residuals, IMAGE, strict=True)) / IMAGES
    return {group: FACTORS[group] * total for group in GROUPS}


def restated(mu: float, form: str, adam: bool) -> dict[str, np.ndarray]:
    """min F(w) + (mu / 2) ||w - anchor||^2 over encoder and decoder, step by step; AdamW as in its paper, or SGD."""
    settings = line_settings()
    rates = {g: settings.encoder_learning_rate if g == "encoder" else settings.decoder_learning_rate for g in GROUPS}
    w = {group: start.copy() for group, start in STARTS.items()}
    first, second = ({group: np.zeros(SIZE) for group in GROUPS} for _ in range(2))
    for step in range(1, EPOCHS + 1):
        found = gradients(w)
        for group in GROUPS:
            gradient, rate = found[group], rates[group]
            if form == "coupled" and group in ANCHORS:
                gradient = gradient + mu * (w[group] - ANCHORS[group])
            if adam:
                first[group] = 0.9 * first[group] + 0.1 * gradient
                second[group] = 0.999 * second[group] + 0.001 * gradient**2
                direction = first[group] / (1 - 0.9**step) / (np.sqrt(second[group] / (1 - 0.999**step)) + 1e-8)
                w[group] = w[group] - rate * settings.weight_decay * w[group] - rate * direction
            else:
                w[group] = w[group] - rate * gradient
            if form == "decoupled" and group in ANCHORS:
                w[group] = w[group] - rate * mu * (w[group] - ANCHORS[group])
    return w


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("adam", [True, False])
@pytest.mark.parametrize("mu", [0.0, 0.3, 5.0])
def test_a_round_of_training_equals_the_equations_in_float64(form: Any, adam: bool, mu: float) -> None:
    trained = train_line(Pull(strength=mu, groups=PULLED, form=form), optimiser=None if adam else torch.optim.SGD)
    expected = restated(mu, form, adam)
    for group in GROUPS:
        np.testing.assert_allclose(trained[group], expected[group], rtol=1e-10, err_msg=group)
    if mu:
        assert np.abs(trained["encoder"] - restated(0.0, form, adam)["encoder"]).max() > 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_scaling_the_loss_does_not_scale_the_pull(form: Any) -> None:
    pull = Pull(strength=0.3, groups=PULLED, form=form)
    scaled = train_line(pull, scaler=torch.amp.GradScaler("cpu", enabled=True, init_scale=2.0**12))
    plain = train_line(pull)
    for group in GROUPS:
        np.testing.assert_array_equal(scaled[group], plain[group])


@pytest.mark.parametrize("form", FORMS)
def test_a_step_left_out_because_gradients_overflowed_is_left_out_whole(form: Any) -> None:
    # The scale is so large that every step of this short round overflows; the loss itself stays finite.
    overflowing = torch.amp.GradScaler("cpu", enabled=True, init_scale=3e38)
    pull = Pull(strength=0.3, groups=PULLED, form=form)
    trained = train_line(pull, scaler=overflowing, dtype=torch.float32, label_scale=1e4)
    assert overflowing.get_scale() == pytest.approx(3e38 / 2**EPOCHS)
    for group in GROUPS:
        np.testing.assert_array_equal(trained[group], STARTS[group].astype(np.float32))


def test_a_decoupled_pull_beyond_the_anchor_is_refused_before_anything_moves() -> None:
    model = Line(STARTS)
    optimiser = build_optimiser(model, line_settings())
    anchors = {g: a.astype(np.float32) for g, a in ANCHORS.items()}
    bound = attach(Pull(strength=20.5, groups=PULLED, form="decoupled"), model, anchors)
    assert bound is not None
    sum(p.sum() for p in model.parameters()).backward()  # type: ignore[union-attr]
    said = naming("20.5", "0.05", "1.03", "decoder-learning-rate")
    with pytest.raises(ValueError, match=said):
        bound.move(optimiser)
    np.testing.assert_array_equal(model.encoder.w.detach().numpy(), STARTS["encoder"])
    at_the_bound = attach(Pull(strength=20.0, groups=PULLED, form="decoupled"), model, anchors)
    assert at_the_bound is not None
    at_the_bound.move(optimiser)
    np.testing.assert_allclose(model.decoders["t"].w.detach().numpy(), ANCHORS["decoders.t"], rtol=1e-14)  # type: ignore[union-attr]


@pytest.mark.parametrize("group", ["decoders.t", "decoders.unknown"])
def test_a_group_without_anchor_or_without_parameters_is_an_error_that_names_it(group: str) -> None:
    anchors = {"encoder": ANCHORS["encoder"].astype(np.float32)}
    with pytest.raises(ValueError, match=naming(group, "encoder")):
        attach(Pull(strength=1.0, groups=("encoder", group)), Line(STARTS), anchors)


# A real client -----------------------------------------------------------------------------------------------------

EXCHANGED = ("encoder", "decoders.semseg", "decoders.depth")
ALL_GROUPS = (*EXCHANGED, "heads.semseg", "heads.depth")


def start(root: Path) -> dict[str, FloatArray]:
    return tiny.participant(root).initial(tiny.settings(), EXCHANGED)


def updates(root: Path, rule: LocalRule, received: Received | None = None, **settings: Any) -> dict[str, FloatArray]:
    asked = tiny.instruction(1, ALL_GROUPS, rule=rule, settings=tiny.settings(**settings))
    client = tiny.participant(root, local_epochs=3)
    return dict(client.train(asked, received or Received(start(root))).updates)


def pull_of(strength: float, form: Any = "coupled") -> LocalRule:
    return LocalRule(pull=Pull(strength=strength, groups=EXCHANGED, form=form))


class Seen:
    """Gradients and parameters as AdamW gets them at every step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gradients: list[dict[str, Tensor]] = []
        self.parameters: list[dict[str, Tensor]] = []
        build = local_round.build_optimiser

        def spied(model: nn.Module, settings: LocalSettings) -> torch.optim.AdamW:
            optimiser = build(model, settings)

            def look(*_: Any) -> None:
                named = list(model.named_parameters())
                self.gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
                self.parameters.append({n: p.detach().clone() for n, p in named})

            optimiser.register_step_pre_hook(look)
            return optimiser

        monkeypatch.setattr(local_round, "build_optimiser", spied)


def test_the_gradient_that_adamw_gets_changes_by_exactly_mu_times_the_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = start(tmp_path)
    anchors = {g: v + np.random.default_rng(v.size).standard_normal(v.size).astype(np.float32) for g, v in sent.items()}
    seen = {}
    for mu in (0.0, 0.5, 2.0):
        with monkeypatch.context() as patched:
            spy = Seen(patched)
            rule = pull_of(mu) if mu else LocalRule()
            updates(tmp_path / str(mu), rule, Received(sent, anchors))
            seen[mu] = spy.gradients[0]
            weights = spy.parameters[0]
    assert {group_of(name) for name in weights} == set(ALL_GROUPS)
    layouts = tiny.participant(tmp_path).layouts()
    for name, weight in weights.items():
        group = group_of(name)
        away = 0.0
        if group in anchors:
            away = weight - torch.tensor(layouts[group].unpack(anchors[group])[relative_name(name)])
        for mu in (0.5, 2.0):
            torch.testing.assert_close(seen[mu][name], seen[0.0][name] + mu * away, rtol=1e-6, atol=1e-6)
            if group not in anchors:
                assert torch.equal(seen[mu][name], seen[0.0][name])


def test_what_arrives_is_the_anchor_so_the_first_step_is_free_and_the_second_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {}
    for mu in (0.0, 1.0):
        with monkeypatch.context() as patched:
            spy = Seen(patched)
            updates(tmp_path / str(mu), pull_of(mu))
            steps[mu] = spy
    free, drawn = steps[0.0], steps[1.0]
    assert all(torch.equal(free.gradients[0][name], drawn.gradients[0][name]) for name in free.gradients[0])
    for name, weight in drawn.parameters[1].items():
        expected = free.gradients[1][name] + (weight - drawn.parameters[0][name]) * (group_of(name) in EXCHANGED)
        torch.testing.assert_close(drawn.gradients[1][name], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_phase_freezes_is_not_pulled(tmp_path: Path, form: Any) -> None:
    sent = start(tmp_path)
    anchors = {group: vector + 1 for group, vector in sent.items()}
    rule = pull_of(10.0, form).model_copy(update={"phases": (Phase(kinds=("decoders", "heads")),)})
    found = updates(tmp_path, rule, Received(sent, anchors))
    assert not found["encoder"].any()
    without = updates(tmp_path / "without", rule.model_copy(update={"pull": None}), Received(sent, anchors))
    assert not np.array_equal(found["decoders.depth"], without["decoders.depth"])
