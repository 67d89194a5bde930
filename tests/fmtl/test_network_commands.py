"""What people who run a site or a coordinator type first: templates, the list of what was sent, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.scenarios.scenario import load_scenario

from client_app.site.sent import SENT_VARIABLE, note_answer, note_error
from client_app.site.site_file import read_site_file
from fmtl.network.site import SENT_FILE
from fmtl.network.site_template import BLANK, KINDS
from fmtl_strategies.contract.messages import InitialRequest, Report
from fmtl_strategies.contract.profile import ClientProfile

ROOT = Path(__file__).parents[2]
Call = Callable[..., tuple[int, str, str]]


# fmtl site init -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_a_sites_file_once_its_blanks_are_filled(kind: str, fmtl: Call, tmp_path: Path) -> None:
    code, text, _ = fmtl("site", "init", "--dataset", kind, "--name", "clinic-a")
    assert code == 0
    file = tmp_path / "site.yaml"
    file.write_text(text.replace(BLANK, "filled-in"))
    site = read_site_file(file)
    assert site.entry.name == "clinic-a"
    assert (site.entry.dataset, site.coordinator) == (kind, "filled-in:8000")
    assert (site.key, site.authority) == (tmp_path / "clinic-a.key", tmp_path / "ca.crt")
    # A line to fill in has a word on it, and offers every task that the kind has.
    lines = [line for line in text.splitlines() if not line.startswith("#") and line != "client:"]
    assert all("# " in line for line in lines)
    assert all(task in next(line for line in lines if "tasks:" in line) for task in DATA_SETS[kind].tasks)


def test_lines_that_a_template_only_offers_are_valid_too(fmtl: Call, tmp_path: Path) -> None:
    _, text, _ = fmtl("site", "init", "--name", "clinic-a")
    offered = [line[1:] for line in text.splitlines() if line.startswith("#  ")]
    assert len(offered) == 3
    head = [line for line in text.splitlines() if not line.startswith("#")]
    file = tmp_path / "site.yaml"
    file.write_text("\n".join([*head, *offered]).replace(BLANK, "x"))
    entry = read_site_file(file).entry
    assert (entry.device, entry.encoder_weights) == ("cuda:0", "/path/to/file.safetensors")
    assert entry.privacy is not None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--dataset", "imagenet"), "known: procedural, nyud"),
        (("--name", "../x"), "1 to 64 letters"),
        (("--coordinator", "https://x"), "expected host:port"),
    ],
)
def test_an_impossible_template_is_refused_with_the_way_out(arguments: tuple[str, ...], word: str, fmtl: Call) -> None:
    code, output, errors = fmtl("site", "init", *arguments)
    assert (code, output) == (2, "")
    assert word in errors
    assert arguments[0] in errors


def test_the_check_names_the_first_line_that_is_still_blank(fmtl: Call, tmp_path: Path) -> None:
    _, text, _ = fmtl("site", "init", "--name", "clinic-a", "--coordinator", "localhost:1")
    file = tmp_path / "site.yaml"
    file.write_text(text)
    code, _, errors = fmtl("site", "check", file)
    assert code == 2
    assert f"line {[number for number, line in enumerate(text.splitlines(), 1) if 'data-root' in line][0]}" in errors
    file.write_text(text.replace(f"/{BLANK}", "/data"))
    _, _, errors = fmtl("site", "check", file)
    assert "clinic-a.key does not exist" in errors.replace("\n", " ")


# fmtl site sent -------------------------------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path: Path, fmtl: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's file; what is noted goes into the record of that site."""
    _, text, _ = fmtl("site", "init", "--dataset", "procedural", "--name", "clinic-a")
    file = tmp_path / "site.yaml"
    file.write_text(text)
    (tmp_path / "state").mkdir()
    monkeypatch.setenv(SENT_VARIABLE, str(tmp_path / "state" / SENT_FILE))
    return file


def _report(round_number: int, **more: object) -> RecordDict:
    text = json.dumps({"client": "clinic-a", "round": round_number, **more})
    return RecordDict({"message": ConfigRecord({"json": text})})


def test_everything_that_was_sent_is_listed_with_its_size(record: Path, fmtl: Call) -> None:
    first, second = _report(1, scores={}), _report(2, scores={"semseg": {"value": 0.25}})
    second["updates"] = ArrayRecord({"encoder": Array("uint16", (1000,), "numpy.ndarray", bytes(2128))})
    note_answer("train", 17, first)
    note_answer("train", 17, second)
    note_error("train", 18, ValueError("/data/scans/anna.png is no image"))
    code, output, _ = fmtl("site", "sent", record)
    assert code == 0
    assert "train: report and updates, once for each round; 2 sent" in output
    assert "scores.semseg.value = 0.25" in output
    assert "scores = {}" not in output
    assert "updates of encoder: 1000 numbers as bfloat16, 2.1 kB" in output
    assert "1 times: ValueError: /data/scans/anna.png is no image" in output
    assert "Runs: 2." in output


def test_the_record_itself_has_every_word_and_is_private(record: Path, fmtl: Call) -> None:
    note_answer("train", 17, _report(1, secret_field="x" * 5000))
    code, output, _ = fmtl("site", "sent", record, "--json")
    assert code == 0
    (line,) = output.splitlines()
    assert "x" * 5000 in json.loads(line)["texts"]["message"]["json"]
    assert (record.parent / "state" / SENT_FILE).stat().st_mode & 0o077 == 0


DAMAGED = [
    '{"time": 17',
    '{"time": 17{"time": 18, "kind": "train", "run": "17", "texts": {}, "arrays": [], "others": []}',
    "[]",
    "",
    '{"time": 17, "kind": "train", "run": "17"}',
    '{"time": 17, "kind": "steal", "run": "17", "texts": {}, "arrays": []}',
    '{"time": 17, "kind": "train", "run": "17", "texts": {"message": {"json": "{"}}, "arrays": []}',
    "\0\0\x1b[2J",
]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_is_shown_with_its_number_and_hides_no_other(record: Path, fmtl: Call, line: str) -> None:
    place = record.parent / "state" / SENT_FILE
    note_answer("train", 17, _report(1))
    with place.open("a") as stream:
        stream.write(line + "\n")
    note_answer("train", 17, _report(2))
    code, output, _ = fmtl("site", "sent", record)
    assert code == 0
    assert "train: report and updates, once for each round; 2 sent" in output
    assert "round = 2" in output
    assert f"line 2, {len(line)} characters: {json.dumps(line)[:60]}" in output
    code, output, _ = fmtl("site", "sent", record, "--json")
    first, damaged, last = map(json.loads, output.splitlines())
    assert (code, first["kind"], last["kind"]) == (0, "train", "train")
    assert (damaged["damaged"]["number"], damaged["damaged"]["text"]) == (2, line)


def test_a_record_with_bytes_that_are_no_text_is_read_all_the_same(record: Path, fmtl: Call) -> None:
    place = record.parent / "state" / SENT_FILE
    place.write_bytes(b"\xff\xfe\n")
    note_answer("train", 17, _report(1))
    code, output, _ = fmtl("site", "sent", record)
    assert code == 0
    assert "1 sent" in output
    assert "line 1, 2 characters" in output


def test_an_answer_that_cannot_be_written_down_is_not_sent(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SENT_VARIABLE, str(record.parent / "missing" / SENT_FILE))
    with pytest.raises(FileNotFoundError):
        note_answer("train", 17, _report(1))
    # The coordinator has to hear of an error all the same.
    note_error("train", 17, OSError("no space"))


def test_the_app_writes_down_what_it_answers_before_it_answers(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import client_app.app as app

    sent: list[RecordDict] = []
    monkeypatch.setattr(app, "_content", lambda call, content: _report(1))
    monkeypatch.setattr(app, "Message", lambda content, reply_to: sent.append(content))
    context = SimpleNamespace(node_config={}, run_config={}, run_id=9)
    app._answer("train", SimpleNamespace(content=RecordDict()), context)  # type: ignore[arg-type]
    lines = (record.parent / "state" / SENT_FILE).read_text().splitlines()
    assert len(sent) == len(lines) == 1

    def fail(call: object, content: object) -> RecordDict:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(app, "_content", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        app._answer("train", SimpleNamespace(content=RecordDict()), context)  # type: ignore[arg-type]
    assert '"error": "RuntimeError: out of memory"' in (record.parent / "state" / SENT_FILE).read_text()


def test_a_site_that_has_sent_nothing_says_so(record: Path, fmtl: Call) -> None:
    code, _, errors = fmtl("site", "sent", record)
    assert code == 2
    assert "has sent no answer yet" in errors


@pytest.mark.parametrize("model", [ClientProfile, InitialRequest, Report])
def test_the_page_for_sites_names_every_field_that_is_sent(model: type[ClientProfile]) -> None:
    page = (ROOT / "docs/for-sites.md").read_text()
    part = page[page.index("## What leaves this machine") : page.index("## What the coordinator could do")]
    unnamed = [name for name in model.model_fields if f"`{name}`" not in part]
    assert not unnamed


# fmtl rehearse --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--scenario", "network-demo"), "network_demo"),
        (("--strategy", "fedavgg"), "fedavgg"),
        (("--strategy", "local", "--strategy", "local"), "given twice"),
        (("--set", "quorum=7"), "quorum"),
        (("--set", "fedhca2.c=many"), "fedhca2.c"),
        (("--set", "fedprox.mu=0.1"), "--set fedprox.mu = 0.1 has no effect: local, fedhca2"),
    ],
)
def test_a_rehearsal_that_cannot_run_is_refused_before_anything_is_made(
    arguments: tuple[str, ...], word: str, fmtl: Call, tmp_path: Path
) -> None:
    code, _, errors = fmtl("rehearse", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert word in errors
    assert not (tmp_path / "out").exists()


def test_a_rehearsal_replaces_nothing(fmtl: Call, tmp_path: Path) -> None:
    code, _, errors = fmtl("rehearse", "--out", tmp_path)
    assert code == 2
    assert "exists already" in errors


def test_the_demo_is_three_sites_that_differ() -> None:
    clients = load_scenario("network_demo").clients
    assert len(clients) == 3
    assert len({client.tasks for client in clients}) == 3
    assert {client.dataset for client in clients} == {"procedural"}


# Coordinator ----------------------------------------------------------------------------------------------------------


def test_making_a_coordinator_names_the_next_command(fmtl: Call, tmp_path: Path) -> None:
    code, output, _ = fmtl("keys", "coordinator", tmp_path / "c", "--host", "fl.example.org")
    assert code == 0
    assert "fmtl server allow" in output
    assert "fmtl server start" in output
    code, output, _ = fmtl("keys", "renew", tmp_path / "c")
    assert code == 0
    assert "fl.example.org" in output
