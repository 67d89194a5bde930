"""Every scenario on data from disk runs a round, and every strategy with every trait of a scenario, on tiny data in the
real file formats; all scenarios with all strategies are in the long lane.

Clients, tasks, shares, lists, fitting and augmentation are the scenario's own; encoder and images are made small. Where
the small real data sets are there, their scenarios also run on a few of the real images.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario, list_scenarios, load_scenario
from fmtl_datasets.sources.nyud import VARIANTS
from scenario_cover import cover, traits
from tiny_data import SIDE, limited, shrunk, write_all, write_nyud, write_scenario, write_shrunk

from client_app.model.multi_task_model import MultiTaskModel
from client_app.round import participant
from fmtl.engine import run
from fmtl_strategies.registry import strategy_names

SCENARIOS = {name: scenario for name in list_scenarios() if (scenario := load_scenario(name)).data_needs}
MOST_CLIENTS = max(len(scenario.clients) for scenario in SCENARIOS.values())
COVER = cover(SCENARIOS, strategy_names())
SMALL_REAL = ("bsds_sod", "coco_mt200_pairs", "mixed_small", "nyud320_st4_mt1")
REAL_ROOT = Path(os.environ.get("FMTL_DATA_ROOT", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for run folders, in a process that spends its time on messages and training.

    Nothing is forced onto the disk, and a client's starting model, which is the same for all strategies, is built once.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        patched.setattr(participant, "prepare_model", built_once(participant.prepare_model))
        yield tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def scenarios(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Files of the shrunk scenarios by name, with all their data in place."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FMTL_DATA_ROOT", str(write_all(tmp_path_factory.mktemp("data"))))
        yield write_shrunk(SCENARIOS, quick)


Prepare = Callable[..., tuple[MultiTaskModel, str]]


def built_once(prepare: Prepare) -> Prepare:
    """The same function, with a memory; a participant reads starting models and never changes them."""

    @lru_cache(MOST_CLIENTS)
    def prepared(entry: ClientEntry, num_classes: tuple[tuple[str, int], ...], seed: int) -> tuple[MultiTaskModel, str]:
        return prepare(entry, dict(num_classes), seed)

    return lambda entry, num_classes, seed: prepared(entry, tuple(sorted(num_classes.items())), seed)


def check_run(folder: Path, result: dict[str, Any], scenario: Scenario) -> None:
    """Every client took part in every round, and every task has a loss and a score."""
    tasks = {client.name: set(client.tasks) for client in scenario.clients}
    assert result["status"] == "completed"
    assert {name: set(client["tasks"]) for name, client in result["clients"].items()} == tasks
    values = {
        (name, task): score["value"]
        for name, client in result["clients"].items()
        for task, score in client["tasks"].items()
    }
    assert all(value is not None and math.isfinite(value) for value in values.values()), values
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for record in history:
        assert (set(record["participants"]), record["set_aside"], record["skipped"]) == (set(tasks), {}, False)
    first = history[0]["losses"]
    assert {name: set(losses) for name, losses in first.items()} == tasks
    assert all(math.isfinite(loss) for losses in first.values() for loss in losses.values()), first


def test_the_quick_pairs_cover_all_scenarios_and_every_trait_with_every_strategy() -> None:
    assert {name for name, _ in COVER} == set(SCENARIOS)
    every = set[str]().union(*map(traits, SCENARIOS.values()))
    for strategy in strategy_names():
        met = (traits(SCENARIOS[name]) for name, chosen in COVER if chosen == strategy)
        assert set[str]().union(*met) == every, strategy


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        pytest.param(name, strategy, marks=() if (name, strategy) in COVER else pytest.mark.long)
        for name in SCENARIOS
        for strategy in strategy_names()
    ],
)
def test_a_round_runs_from_the_first_message_to_the_scores(
    name: str, strategy: str, scenarios: dict[str, Path], quick: Path
) -> None:
    folder = quick / f"{name}-{strategy}"
    values = {"strategy": strategy, "scenario": str(scenarios[name]), "num-server-rounds": 1}
    result = run(values, folder)
    check_run(folder, result, load_scenario(name))
    assert (result["bytes_up"] > 0) == (strategy != "local")
    shutil.rmtree(folder)


@pytest.mark.parametrize("variant", [variant.name for variant in VARIANTS])
def test_every_package_of_nyud_runs_although_its_images_are_larger_than_the_image_size(
    variant: str, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Vandenhende's are: 480 x 640 in scenarios with image-size [448, 576]."""
    write_nyud(tmp_path / "NYUDv2", variant, train=8, val=2, size=(SIDE + 16, SIDE + 56))
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
    small = shrunk(load_scenario("nyud_st"))
    clients = tuple(client.model_copy(update={"contact_sheet": 1}) for client in small.clients)
    path = write_scenario(small.model_copy(update={"clients": clients}), tmp_path / "larger.yaml")
    folder = quick / f"nyud-{variant}"
    result = run({"strategy": "fedavg", "scenario": str(path), "num-server-rounds": 2}, folder)
    check_run(folder, result, small)
    assert len(list(folder.rglob("predictions.png"))) == len(clients)


@pytest.mark.parametrize("name", SMALL_REAL)
def test_a_round_runs_on_a_few_real_images(name: str, quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario(name)
    missing = [root for root in scenario.data_needs if not (REAL_ROOT / root).is_dir()]
    if missing:
        pytest.skip(f"{REAL_ROOT / missing[0]} is absent; set FMTL_DATA_ROOT to the folder that holds it")
    monkeypatch.setenv("FMTL_DATA_ROOT", str(REAL_ROOT))
    few = limited(scenario, images=2)
    path = write_scenario(few, quick / f"{name}-real.yaml")
    folder = quick / f"{name}-real"
    result = run({"strategy": "fedavg", "scenario": str(path), "num-server-rounds": 1}, folder)
    check_run(folder, result, few)
    assert all("missing" in client["weights"] for client in result["clients"].values())
