"""`fmtl reproduce --dry-run`: the time it takes, with the part of odsF, and options that cannot go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fmtl.reproduce import speed
from fmtl.reproduce.cost import client_costs
from fmtl.reproduce.edge_time import seconds_per_edge_image
from fmtl.reproduce.plan import reproduction
from fmtl.reproduce.speed import kind_of_client, stated_speeds
from fmtl.reproduce.table import load_table

Call = Callable[..., tuple[int, str, str]]
ONE_SEED = ("reproduce", "fedhca2-table1", "--dry-run", "--seeds", "0", "--methods", "local")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMTL_DATA_ROOT", raising=False)


def test_a_stated_step_leaves_the_time_of_edge_scoring_to_be_added(fmtl: Call) -> None:
    status, output, _ = fmtl(*ONE_SEED, "--seconds-per-step", "0.2", "--seconds-per-edge-image", "0.4")
    text = " ".join(output.split())
    assert status == 0
    # 25 evaluations of two clients with edges, on 5,105 and 654 images, and a third of a step's share for each image.
    scored = 25 * (5105 * 5 + 654)
    edges = 25 * (5105 + 654) * 0.4
    total = 101_900 * 0.2 + scored * 0.2 / 24 + edges
    assert f"about {total / 3600:.1f} h for the 1 runs" in text
    assert f"{edges / 3600:.1f} h of that is odsF" in text
    assert "400 ms an image as stated by --seconds-per-edge-image" in text
    assert "0.41 s" in text, "the column of a scored image"


def test_the_time_of_edge_scoring_is_measured_at_the_clients_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(height: int, width: int, max_distance: float) -> float:
        asked.append((height, width, max_distance))
        return height / 1000

    monkeypatch.setattr(speed, "seconds_per_edge_image", measured)
    table = load_table("fedhca2-table1")
    work = reproduction(table, Path("out"), (0,), table.rounds)
    clients = [client for listed in client_costs(work).values() for client in listed]
    speeds = stated_speeds(clients, 2.4, None)
    assert asked == [(512, 512, 0.0075), (448, 576, 0.011)]
    by_name = {client.entry.name: speeds[kind_of_client(client.entry)] for client in clients}
    assert by_name["pascal-edge"].image == pytest.approx(0.1 + 0.512)
    assert by_name["nyud-all"].image == pytest.approx(0.1 + 0.448)
    assert by_name["pascal-parts"].image == pytest.approx(0.1)


def test_edge_scoring_takes_longer_for_a_larger_image() -> None:
    small, large = seconds_per_edge_image(60, 80, 0.011), seconds_per_edge_image(240, 320, 0.011)
    assert 0 < 3 * small < large


def test_a_table_without_edges_says_nothing_of_them(fmtl: Call) -> None:
    status, output, _ = fmtl("reproduce", "fedhca2-table5", "--dry-run", "--seconds-per-step", "0.2")
    assert status == 0
    assert "is odsF" not in output


@pytest.mark.parametrize("option", ["--seconds-per-step", "--seconds-per-edge-image"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_time_that_is_no_number_is_refused(fmtl: Call, option: str, value: str) -> None:
    status, _, errors = fmtl(*ONE_SEED, option, value)
    assert status == 2
    assert f"{option} {value} is no time; expected seconds" in " ".join(errors.split())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--dry-run", "--report"), "give one of them"),
        (("--dry-run", "--again", "local"), "removes runs, but --dry-run starts and removes nothing"),
        (("--report", "--again", "local"), "removes runs, but --report starts and removes nothing"),
        (("--seconds-per-edge-image", "1"), "is for --dry-run only"),
        (("--dry-run", "--seconds-per-edge-image", "1"), "goes with --seconds-per-step"),
    ],
)
def test_options_that_ask_for_different_things_are_refused(fmtl: Call, options: tuple[str, ...], reason: str) -> None:
    status, output, errors = fmtl("reproduce", "fedhca2-table1", *options)
    assert status == 2
    assert reason in " ".join(errors.split())
    assert output == ""
