"""Scenario files: what is accepted, what is refused, and that a refusal says where and why."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest
from errors import naming
from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario, ScenarioError, Share, list_scenarios, load_scenario
from fmtl_datasets.scenarios.scenario_file import read_scenario_text
from fmtl_datasets.shared.conventions import TASKS

SITE = """
name: site
description: one client
clients:
  - name: a
    dataset: procedural
    tasks: [semseg]
    image-size: [64, 64]
    train-images: 8
    validation-images: 4
    encoder: mobilenetv2_035
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(write(folder, text))
    return str(caught.value)


@pytest.mark.parametrize("name", list_scenarios())
def test_every_shipped_scenario_loads_under_its_file_name(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert all(client.share is not None for client in scenario.clients)


def test_default_scenario_has_six_clients_with_different_tasks_in_both_domains() -> None:
    clients = load_scenario("default").clients
    assert len({client.tasks for client in clients}) == len(clients) == 6
    assert {client.domain for client in clients} == {"indoor", "outdoor"}


def test_partition_id_selects_the_entry_of_that_position() -> None:
    scenario = load_scenario("nyud320_st4_mt1")
    assert scenario.client(4).name == "nyud-all"
    with pytest.raises(ScenarioError, match=naming("0 to 4", "5")):
        scenario.client(5)
    with pytest.raises(ScenarioError, match=naming("-1")):
        scenario.client(-1)


def test_site_file_with_one_client_gets_the_whole_pool(tmp_path: Path) -> None:
    entry = load_scenario(write(tmp_path, SITE)).client(0)
    assert entry.share == Share(part=0, of=1)
    assert (entry.image_size, entry.domain, entry.augment) == ((64, 64), "indoor", "flip")


def test_unknown_name_suggests_the_nearest_scenario_and_says_how_to_list_them() -> None:
    with pytest.raises(ScenarioError, match=naming("defualt", "default", "fmtl scenarios")):
        load_scenario("defualt")
    with pytest.raises(ScenarioError, match=naming("xxxxxxxx", "fmtl scenarios")):
        load_scenario("xxxxxxxx")


def test_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path, SITE)
    assert load_scenario(path).client(0).batch_size == 8
    path.write_text(SITE.replace("tasks:", "batch-size: 4\n    tasks:"))
    assert load_scenario(path).client(0).batch_size == 4
    path.unlink()
    with pytest.raises(ScenarioError, match=naming("cannot")):
        load_scenario(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=naming("nowhere.yaml")):
        load_scenario(tmp_path / "nowhere.yaml")


def test_unknown_key_names_line_and_nearest_key_and_all_allowed_ones(tmp_path: Path) -> None:
    message = refused(tmp_path, SITE.replace("train-images", "train_images"))
    assert "scenario.yaml:9: unknown key 'train_images'. Did you mean 'train-images'?" in message
    assert "Allowed here: allow-unmatched-weights, augment, batch-norm, batch-size" in message


def test_impossible_value_names_line_client_key_and_value(tmp_path: Path) -> None:
    message = refused(tmp_path, SITE + "    batch-size: 0\n")
    assert "scenario.yaml:12: client a: batch-size = 0: " in message


def test_value_from_defaults_is_reported_where_it_stands(tmp_path: Path) -> None:
    message = refused(tmp_path, SITE.replace("clients:", "defaults:\n  local-epochs: -1\nclients:"))
    assert "scenario.yaml:5: client a: local-epochs = -1" in message


def test_all_problems_of_a_file_are_listed_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, SITE + "    batch-size: yes\n    device: gpu\n    colour: red\n")
    assert all(key in message for key in ("batch-size = 'yes'", "device = 'gpu'", "'colour'"))


def test_missing_key_is_named(tmp_path: Path) -> None:
    assert "client a: the key 'image-size' is missing" in refused(
        tmp_path, SITE.replace("    image-size: [64, 64]\n", "")
    )


def test_repeated_key_is_refused_rather_than_overwritten(tmp_path: Path) -> None:
    message = refused(tmp_path, SITE + "    tasks: [depth]\n")
    assert "scenario.yaml:12: a key is given twice" in message
    assert "tasks" in message


def test_words_that_older_yaml_takes_for_true_false_or_times_are_texts_and_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("a: off\nb: no\nc: 1:30\nd: true\ne: 1e-3\nf: &x 010\ng: *x\n")
    content = read_scenario_text(path).content
    assert content == {"a": "off", "b": "no", "c": "1:30", "d": "true", "e": 0.001, "f": 10, "g": 10}
    assert {type(value) for value in content.values()} == {str, float, int}


@pytest.mark.parametrize(
    "text",
    [
        # 10^9 values in 280 bytes.
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join([f'*{before}'] * 10)}]\n" for before, n in pairwise("abcdefghi")),
        "[" * 600,
        "a: !!python/object:os.system 3\n",
    ],
)
def test_a_file_that_would_be_read_for_ever_or_run_code_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=r"bad\.yaml"):
        read_scenario_text(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("[semseg]", "[semseg, colour]"), "unknown task 'colour'; known tasks: semseg, parts"),
        (("[semseg]", "[semseg, semseg]"), "a task is listed twice"),
        (("dataset: procedural", "dataset: nyud"), "dataset nyud needs 'data-root'"),
        (("    train-images: 8\n", ""), "needs 'train-images'"),
        (("[64, 64]", "[64]"), "image-size"),
        (("[64, 64]", "[64, 16]"), "image-size = 16"),
        (("name: a", "name: a b"), "name = 'a b': expected 1 to 64 letters"),
        (("tasks:", "data-root: /x\n    tasks:"), "not for dataset procedural"),
        (
            ("tasks:", "validation-list: val\n    tasks:"),
            "'validation-list' is for dataset nyud or pascal_context or coco or bsds_sod or folder only",
        ),
        (("tasks:", "train-list: train\n    tasks:"), "'train-list' is for dataset nyud or pascal_context or"),
        (("tasks:", "own-validation: 0.1\n    tasks:"), "'own-validation' is for dataset nyud or pascal_context or"),
        (("tasks:", "parts-flags: reference\n    tasks:"), "'parts-flags' is for dataset pascal_context only"),
        (("tasks:", "stuff-labels: stuff\n    tasks:"), "'stuff-labels' is for dataset coco only"),
        (("tasks:", "train-list: a/b\n    tasks:"), "train-list = 'a/b': expected 1 to 64 letters"),
        (("tasks:", "own-validation: 1.0\n    tasks:"), "own-validation = 1.0: input should be less than 1"),
        (("tasks:", "own-validation: 0\n    tasks:"), "own-validation = 0: input should be greater than 0"),
        (("tasks:", "parts-flags: theirs\n    tasks:"), "parts-flags = 'theirs': input should be 'own' or 'reference'"),
        (("tasks:", "stuff-labels: 91\n    tasks:"), "stuff-labels = 91: input should be 'panoptic' or 'stuff'"),
        (("tasks:", "fit: outside\n    tasks:"), "fit = 'outside': input should be 'resize', 'inside' or 'pad'"),
        (
            ("tasks:", "smallest-anchor: 2\n    tasks:"),
            "smallest-anchor = 2: input should be greater",
        ),
        (("tasks:", "contact-sheet: 65\n    tasks:"), "contact-sheet = 65: input should be less than or equal to 64"),
        (("tasks:", "contact-sheet: 1.5\n    tasks:"), "contact-sheet = 1.5: input should be a valid integer"),
        (("dataset: procedural", "dataset: imagenet"), "dataset = 'imagenet'"),
        (("dataset: procedural", "dataset: coco\n    data-root: x"), "dataset coco has no semseg; it offers instance"),
        (
            ("tasks:", "share: {part: 0, of: 1, after: [0]}\n    tasks:"),
            "share.after = 0: input should be greater",
        ),
        (("tasks:", "share: {part: 0, of: 1, after: [9]}\n    tasks:"), "a share of dataset procedural has no 'after'"),
        (("clients:", "shares: any\nclients:"), "shares = 'any': input should be 'disjoint' or 'may-overlap'"),
        (("tasks:", "share: {part: 2, of: 2}\n    tasks:"), "part 2 of 2 does not exist"),
        (("tasks:", "share: {part: 0}\n    tasks:"), "either {part: P, of: N}"),
        (
            ("tasks:", "share: {part: 0, off: 5}\n    tasks:"),
            "unknown key 'off'. Did you mean 'of'? Allowed here: after, fraction",
        ),
        (("tasks:", "decoder-width: 30\n    tasks:"), "decoder-width = 30: input should be a multiple of 4"),
        (("tasks:", "device: gpu\n    tasks:"), "device = 'gpu': expected auto, cpu, cuda or cuda:N"),
        (("clients:", "defaults: 0\nclients:"), "'defaults' is a mapping"),
        (("tasks:", "share: {start: 0.0, fraction: 0.5}\n    tasks:"), "no fraction of an endless supply"),
        (("tasks:", "batch-size: 9\n    tasks:"), "larger than train-images 8"),
    ],
)
def test_impossible_entries_say_what_is_wrong(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    assert expected in refused(tmp_path, SITE.replace(*change))


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "name: x\ndescription: y\nclients: []\n", "a: [", "clients: {}\n", "a: &a [*a]\n"]
)
def test_files_of_another_shape_are_refused_with_the_file_name(tmp_path: Path, text: str) -> None:
    assert "scenario.yaml" in refused(tmp_path, text)


def entry(name: str, **changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "name": name,
        "dataset": "nyud",
        "data-root": "nyud320",
        "tasks": ["depth"],
        "image-size": [64, 64],
        "encoder": "x",
    }
    return {**base, **changes}


def scenario(*clients: dict[str, object]) -> Scenario:
    return Scenario(name="s", description="", clients=tuple(ClientEntry.model_validate(item) for item in clients))


def test_clients_without_shares_divide_their_pool_in_file_order() -> None:
    other = entry("c", **{"data-root": "elsewhere"})
    shares = [client.share for client in scenario(entry("a"), entry("b"), other).clients]
    assert shares == [Share(part=0, of=2), Share(part=1, of=2), Share(part=0, of=1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"part": 0, "of": 2}, {"part": 0, "of": 2}),
        ({"part": 0, "of": 2}, {"part": 2, "of": 3}),
        ({"start": 0.0, "fraction": 0.5}, {"start": 0.4, "fraction": 0.5}),
        ({"start": 0.0, "fraction": 0.5}, {"part": 1, "of": 2}),
        ({"part": 0, "of": 2}, {"part": 1, "of": 2, "after": [795]}),
        ({"part": 0, "of": 2}, None),
    ],
)
def test_shares_that_may_overlap_are_refused(first: dict[str, float], second: dict[str, float] | None) -> None:
    with pytest.raises(ValueError, match="a and b|b must give one too"):
        scenario(entry("a", share=first), entry("b", share=second))


def test_files_on_disk_are_one_pool_whatever_the_seed_or_the_spelling_of_the_path() -> None:
    with pytest.raises(ValueError, match="same 'data-seed'; given: 0, 1"):
        scenario(entry("a"), entry("b", **{"data-seed": 1}))
    first, second = scenario(entry("a"), entry("b", **{"data-root": "nyud320/"})).clients
    assert (first.share, second.share) == (Share(part=0, of=2), Share(part=1, of=2))


def test_true_and_false_are_words_a_key_may_take() -> None:
    assert (
        ClientEntry.model_validate(entry("a", **{"allow-unmatched-weights": "true"})).allow_unmatched_weights == "true"
    )
    with pytest.raises(ValueError, match="'true' or 'false'"):
        ClientEntry.model_validate(entry("a", **{"allow-unmatched-weights": "yes"}))


def test_shares_may_overlap_where_the_scenario_says_so() -> None:
    clients = (entry("a", share={"part": 0, "of": 2}), entry("b", share={"part": 0, "of": 2, "after": [795]}))
    entries = tuple(ClientEntry.model_validate(client) for client in clients)
    overlapping = Scenario.model_validate({"name": "s", "description": "", "shares": "may-overlap", "clients": entries})
    assert [client.share for client in overlapping.clients] == [Share(part=0, of=2), Share(part=0, of=2, after=(795,))]


@pytest.mark.parametrize(
    ("dataset", "tasks"),
    [
        ("procedural", TASKS),
        ("folder", TASKS),
        ("nyud", ("semseg", "normals", "edge", "depth")),
        ("pascal_context", ("semseg", "parts", "saliency", "normals", "edge")),
        ("coco", ("instance", "keypoints", "stuff", "panoptic")),
        ("bsds_sod", ("saliency", "edge")),
    ],
)
def test_every_data_set_gives_its_tasks_and_no_other(dataset: str, tasks: tuple[str, ...]) -> None:
    base: dict[str, object] = {"dataset": dataset, "tasks": list(tasks)}
    if dataset == "procedural":
        base |= {"data-root": None, "train-images": 8, "validation-images": 4}
    assert ClientEntry.model_validate(entry("a", **base)).tasks == tasks
    for other in set(TASKS) - set(tasks):
        with pytest.raises(ValueError, match=naming(dataset, other, ", ".join(tasks))):
            ClientEntry.model_validate(entry("a", **base | {"tasks": [other]}))


def test_keys_of_data_sets_on_disk_are_read_as_they_are_written(tmp_path: Path) -> None:
    text = """
    name: site
    description: every key of a data set on disk
    clients:
      - name: a
        dataset: pascal_context
        data-root: x
        tasks: [parts]
        image-size: [64, 64]
        encoder: resnet18
        train-list: train
        validation-list: val
        own-validation: 0.25
        parts-flags: reference
        fit: inside
        smallest-anchor: 16
        contact-sheet: 6
        share: {part: 0, of: 3, after: [795, 12]}
      - name: b
        dataset: coco
        data-root: y
        tasks: [stuff]
        image-size: [64, 64]
        encoder: resnet18
        stuff-labels: stuff
    """
    first, second = load_scenario(write(tmp_path, text)).clients
    assert (first.train_list, first.validation_list, first.own_validation) == ("train", "val", 0.25)
    assert (first.parts_flags, first.fit, first.smallest_anchor, first.contact_sheet) == ("reference", "inside", 16, 6)
    assert first.share == Share(part=0, of=3, after=(795, 12))
    assert second.stuff_labels == "stuff"


def test_keys_left_out_have_the_documented_defaults() -> None:
    client = ClientEntry.model_validate(entry("a"))
    assert (client.train_list, client.validation_list, client.own_validation) == (None, None, None)
    assert (client.parts_flags, client.stuff_labels, client.fit) == ("own", "panoptic", "resize")
    assert (client.smallest_anchor, client.contact_sheet) == (32, 0)


def test_touching_fractions_and_other_roots_are_accepted() -> None:
    half = {"start": 0.0, "fraction": 0.5}
    clients = scenario(
        entry("a", share=half),
        entry("b", share={"start": 0.5, "fraction": 0.5}),
        entry("c", share=half, **{"data-root": "elsewhere"}),
    ).clients
    assert len(clients) == 3


def test_client_names_must_be_unique() -> None:
    with pytest.raises(ValueError, match=naming("once", "a")):
        scenario(entry("a"), entry("a"))


def test_relative_paths_lie_under_the_data_root_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = ClientEntry.model_validate(entry("a", **{"encoder-weights": "w.safetensors"}))
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
    assert client.data_path() == tmp_path / "nyud320"
    assert client.weights_path() == tmp_path / "w.safetensors"
    monkeypatch.delenv("FMTL_DATA_ROOT")
    with pytest.raises(ScenarioError, match=naming("FMTL_DATA_ROOT")):
        client.data_path()


def test_no_weights_file_for_none_and_hub() -> None:
    assert all(
        ClientEntry.model_validate(entry("a", **{"encoder-weights": w})).weights_path() is None for w in ("none", "hub")
    )


def test_edge_distance_follows_the_data_set_unless_given() -> None:
    assert ClientEntry.model_validate(entry("a")).edge_distance == 0.011
    assert load_scenario("default").client(0).edge_distance == 0.0075
    assert ClientEntry.model_validate(entry("a", **{"edge-distance": 0.02})).edge_distance == 0.02


def test_naming_the_training_list_makes_no_other_pool_of_images() -> None:
    clients = scenario(
        entry("a", **{"train-list": "train"}), entry("b"), entry("c", **{"train-list": "train_mini"})
    ).clients
    assert [client.share for client in clients] == [Share(part=0, of=2), Share(part=1, of=2), Share(part=0, of=1)]
