"""The published scenarios say what papers and released code say: clients, tasks, and who trains on which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
import torch
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.registry import selected_indices, share_indices
from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario, list_scenarios, load_scenario
from fmtl_datasets.shared.source import Indices
from reference_partition import REFERENCE_SCENARIOS, reference_partition

from client_app.model.encoder import build_encoder, resolve_encoder

PUBLISHED = tuple(name for name in list_scenarios() if load_scenario(name).paper)
FMTL_BENCH = tuple(name for name in PUBLISHED if name.startswith("fmtl_bench"))
ROOTS = {"PASCALContext": "pascal_context", "NYUDv2": "nyud", "coco": "coco"}
LISTS = {
    "pascal_context": {"train": 4998, "val": 5105},
    "nyud": {"train": 795, "val": 654},
    "coco": {"train2017": 118_287, "val2017": 5000},
}
SIZES = {"pascal_context": (512, 512), "nyud": (448, 576), "coco": (512, 512)}
PASCAL_ORDER = ("semseg", "parts", "normals", "edge", "saliency")
NYUD_ORDER = ("semseg", "normals", "edge", "depth")


@dataclass
class Lengths:
    """Stands for a data set on disk of which only the lengths of the lists are known."""

    of: dict[str, int]
    summary: str = "lengths"

    @property
    def lists(self) -> tuple[str, ...]:
        return tuple(self.of)

    def ids(self, image_list: str) -> tuple[str, ...]:
        return tuple(f"{image_list}/{number}" for number in range(self.of[image_list]))

    def usable(self, image_list: str, indices: Indices, tasks: Sequence[str]) -> Indices:
        return indices


def images(client: ClientEntry, split: str) -> tuple[str, Indices]:
    """List and positions that a client trains or is scored on, with the real data sets' lengths."""
    return selected_indices(client, Lengths(LISTS[client.dataset]), split)  # type: ignore[arg-type]


def own_share(client: ClientEntry) -> Indices:
    return share_indices(client, next(iter(LISTS[client.dataset].values())))


def tasks_of(scenario: Scenario, dataset: str) -> list[tuple[str, ...]]:
    return [client.tasks for client in scenario.clients if client.dataset == dataset]


@pytest.mark.parametrize("name", list_scenarios())
def test_a_scenario_can_be_had_and_is_described_in_a_sentence_and_more(name: str) -> None:
    scenario = load_scenario(name)
    assert 20 < len(scenario.summary) < 260
    for client in scenario.clients:
        assert resolve_encoder(client.encoder)
        assert client.data_root is None or not client.data_root.startswith("/")
        assert client.encoder_weights in ("none", "hub", "mobilenetv2_100_imagenet.safetensors")


def test_encoders_take_images_of_the_size_of_every_scenario() -> None:
    used = {(client.encoder, client.image_size) for name in list_scenarios() for client in load_scenario(name).clients}
    assert ("swin-t-fedhca2", (448, 576)) in used
    with torch.device("meta"):
        assert all(build_encoder(encoder, size).strides == (4, 8, 16, 32) for encoder, size in sorted(used))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_scenarios_read_the_published_data_sets_at_their_sizes(name: str) -> None:
    scenario = load_scenario(name)
    assert "Known" in scenario.description
    assert "ours" in scenario.description.lower()
    for client in scenario.clients:
        assert ROOTS[str(client.data_root)] == client.dataset
        assert client.image_size == SIZES[client.dataset]
        assert (client.batch_size, client.decoder_width, client.data_seed) == (8, 96, 0)
        assert (client.train_images, client.validation_images) == (None, None)
        assert client.normalisation == "imagenet"
        if client.dataset != "coco":
            assert (client.fit, client.augment) == ("pad", "reference")
        if client.dataset != "coco" and not name.startswith("m_fed"):
            assert client.local_epochs == {"nyud": 4, "pascal_context": 1}[client.dataset]


@pytest.mark.parametrize("name", sorted(REFERENCE_SCENARIOS))
def test_fedhca2_clients_get_the_images_of_the_published_partition(name: str) -> None:
    """The reference shuffles all data sets with one random state; a scenario says for each client what comes before."""
    expected = [part for block in reference_partition(REFERENCE_SCENARIOS[name]) for part in block]
    clients = load_scenario(name).clients
    assert len(clients) == len(expected)
    for client, part in zip(clients, expected, strict=True):
        np.testing.assert_array_equal(own_share(client), part, err_msg=client.name)
        np.testing.assert_array_equal(images(client, "train")[1], part, err_msg=client.name)


@pytest.mark.parametrize(
    ("name", "client", "first"),
    [
        ("pascal_st_nyud_mt_1c", 0, [4584, 1765, 562, 825]),
        ("pascal_st_nyud_mt_1c", 1, [4868, 1116, 3585, 2911]),
        ("pascal_st_nyud_mt_1c", 5, [340, 643, 485, 700]),
        ("nyud_st_pascal_mt_1c", 0, [491, 175, 479, 735]),
        ("nyud_st_pascal_mt_1c", 4, [3367, 4957, 29, 98]),
        ("nyud_st", 0, [491, 175, 479, 735]),
    ],
)
def test_first_images_at_seed_0_are_the_published_ones(name: str, client: int, first: list[int]) -> None:
    assert own_share(load_scenario(name).client(client))[:4].tolist() == first


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("pascal_st_nyud_mt_1c", [1000, 1000, 1000, 999, 999, 795]),
        ("pascal_st_nyud_mt_2c", [500] * 8 + [499] * 2 + [398, 397]),
        ("pascal_st_nyud_mt_4c", [250] * 18 + [249] * 2 + [199, 199, 199, 198]),
        ("nyud_st_pascal_mt_1c", [199, 199, 199, 198, 4998]),
        ("nyud_st", [199, 199, 199, 198]),
        ("pascal_mt3_nyud_mt2", [4998, 795]),
    ],
)
def test_fedhca2_clients_have_the_published_numbers_of_images_and_score_on_the_official_list(
    name: str, counts: list[int]
) -> None:
    clients = load_scenario(name).clients
    assert [len(images(client, "train")[1]) for client in clients] == counts
    for client in clients:
        image_list, indices = images(client, "validation")
        assert (image_list, len(indices)) == ("val", LISTS[client.dataset]["val"])


@pytest.mark.parametrize(("name", "times"), [("1c", 1), ("2c", 2), ("4c", 4)])
def test_first_fedhca2_scenario_has_single_task_clients_in_the_order_of_its_file_and_then_multi_task_ones(
    name: str, times: int
) -> None:
    scenario = load_scenario(f"pascal_st_nyud_mt_{name}")
    expected = [(task,) for task in PASCAL_ORDER for _ in range(times)] + [NYUD_ORDER] * times
    assert [client.tasks for client in scenario.clients] == expected
    assert [client.dataset for client in scenario.clients] == ["pascal_context"] * (5 * times) + ["nyud"] * times


def test_other_fedhca2_scenarios_have_the_clients_of_their_tables() -> None:
    second = load_scenario("nyud_st_pascal_mt_1c")
    assert [client.tasks for client in second.clients] == [*((task,) for task in NYUD_ORDER), PASCAL_ORDER]
    assert [client.tasks for client in load_scenario("nyud_st").clients] == [(task,) for task in NYUD_ORDER]
    fifth = load_scenario("pascal_mt3_nyud_mt2")
    assert tasks_of(fifth, "pascal_context") == [("semseg", "parts", "normals")]
    assert tasks_of(fifth, "nyud") == [("semseg", "normals")]
    encoders = {
        client.encoder
        for name in PUBLISHED
        if "FedHCA2" in load_scenario(name).paper
        for client in load_scenario(name).clients
    }
    assert encoders == {"swin-t-fedhca2"}


def used_in_whole_batches(client: ClientEntry) -> int:
    """The paper's figure counts images in whole batches of 8."""
    return len(images(client, "train")[1]) // 8 * 8


@pytest.mark.parametrize("evaluation", ["g", "p"])
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("iid1", [176] * 4),
        ("niid2", [176] * 4),
        ("niid3", [176] * 8),
        ("niid4", [64, 136, 208, 280]),
        ("niid5", [64, 136, 208, 280]),
        ("niid6", [176] * 4 + [4496]),
        # The released code divides PASCAL-Context between two clients; the figure shows 4496 for both.
        ("niid7", [176] * 4 + [2248, 2248]),
    ],
)
def test_fmtl_bench_clients_train_on_the_numbers_of_images_of_its_figure(
    name: str, counts: list[int], evaluation: str
) -> None:
    clients = load_scenario(f"fmtl_bench_{name}_{evaluation}").clients
    assert [used_in_whole_batches(client) for client in clients] == counts


def test_fmtl_bench_tasks_are_those_of_its_configurations() -> None:
    single, multi = [(task,) for task in NYUD_ORDER], [NYUD_ORDER] * 4
    expected = {
        "iid1": multi,
        "niid2": single,
        "niid3": single + multi,
        "niid4": multi,
        "niid5": single,
        "niid6": [*multi, ("parts", "normals")],
        "niid7": [*single, ("parts",), ("normals",)],
    }
    for name, tasks in expected.items():
        for evaluation in ("g", "p"):
            scenario = load_scenario(f"fmtl_bench_{name}_{evaluation}")
            assert [client.tasks for client in scenario.clients] == tasks
    for count in (2, 6, 8):
        assert [client.tasks for client in load_scenario(f"fmtl_bench_iid1_{count}c_g").clients] == [NYUD_ORDER] * count
    assert {client.encoder for name in FMTL_BENCH for client in load_scenario(name).clients} == {"resnet18.tv_in1k"}


@pytest.mark.parametrize("name", [name for name in FMTL_BENCH if name.endswith("_p")])
def test_both_evaluations_of_fmtl_bench_train_on_the_same_images_and_score_on_others(name: str) -> None:
    own = load_scenario(name)
    official = load_scenario(f"{name.removesuffix('_p')}_g")
    for p_client, g_client in zip(own.clients, official.clients, strict=True):
        trained = images(p_client, "train")[1]
        np.testing.assert_array_equal(trained, images(g_client, "train")[1])
        scored_list, scored = images(p_client, "validation")
        assert scored_list == "train"
        assert sorted([*trained, *scored]) == sorted(own_share(p_client))
        official_list, indices = images(g_client, "validation")
        assert (official_list, len(indices)) == ("val", LISTS[g_client.dataset]["val"])


def test_unbalanced_parts_are_cut_where_the_released_code_cuts_them() -> None:
    shuffled = np.random.RandomState(0).permutation(795)  # noqa: NPY002
    for name in ("niid4", "niid5"):
        clients = load_scenario(f"fmtl_bench_{name}_g").clients
        for client, (first, last) in zip(clients, ((0, 79), (79, 237), (237, 474), (474, 790)), strict=True):
            np.testing.assert_array_equal(own_share(client), shuffled[first:last])


def test_hybrid_scenario_divides_all_images_twice_from_two_shuffles_of_one_random_state() -> None:
    state = np.random.RandomState(0)  # noqa: NPY002
    expected = [part for _ in range(2) for part in np.array_split(state.permutation(795), 4)]
    scenario = load_scenario("fmtl_bench_niid3_g")
    assert scenario.shares == "may-overlap"
    for client, part in zip(scenario.clients, expected, strict=True):
        np.testing.assert_array_equal(own_share(client), part)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if load_scenario(name).shares == "disjoint"])
def test_no_two_clients_of_a_data_set_train_on_the_same_image(name: str) -> None:
    scenario = load_scenario(name)
    for root in scenario.data_needs:
        used = np.concatenate([own_share(client) for client in scenario.clients if client.data_root == root])
        assert len(np.unique(used)) == len(used)


def test_only_the_hybrid_scenarios_may_overlap() -> None:
    overlapping = [name for name in list_scenarios() if load_scenario(name).shares != "disjoint"]
    assert overlapping == ["fmtl_bench_niid3_g", "fmtl_bench_niid3_p"]


@pytest.mark.parametrize(
    ("data", "dataset", "tasks"),
    [
        ("pascal", "pascal_context", ("semseg", "parts", "saliency", "edge")),
        ("coco", "coco", ("instance", "keypoints", "stuff", "panoptic")),
    ],
)
def test_m_fed_has_every_pair_of_tasks_with_two_clients_each(data: str, dataset: str, tasks: tuple[str, ...]) -> None:
    for first, second in combinations(tasks, 2):
        scenario = load_scenario(f"m_fed_{data}_{first}_{second}")
        assert [client.tasks for client in scenario.clients] == [(first,), (first,), (second,), (second,)]
        assert {(client.dataset, client.encoder) for client in scenario.clients} == {(dataset, "resnet50.tv_in1k")}


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("m_fed")])
def test_m_fed_trains_five_times_between_exchanges_on_pascal_whatever_the_method(name: str) -> None:
    """As a setting of m-fed alone, its gain over local training would come from five times the training."""
    scenario = load_scenario(name)
    expected = 5 if scenario.clients[0].dataset == "pascal_context" else 1
    assert {client.local_epochs for client in scenario.clients} == {expected}


@pytest.mark.parametrize(("name", "dataset"), [("feddea_nyud", "nyud"), ("feddea_pascal", "pascal_context")])
def test_feddea_has_one_client_for_every_task_of_the_data_set(name: str, dataset: str) -> None:
    tasks = [client.tasks for client in load_scenario(name).clients]
    assert sorted(tasks) == sorted((task,) for task in DATA_SETS[dataset].tasks)
    assert {client.dataset for client in load_scenario(name).clients} == {dataset}


@pytest.mark.parametrize("name", ["mixed_dense_coco", "mixed_small"])
def test_mixed_scenarios_join_dense_and_coco_clients_on_one_encoder(name: str) -> None:
    clients = load_scenario(name).clients
    assert len({(client.encoder, client.encoder_weights) for client in clients}) == 1
    tasks = {task for client in clients for task in client.tasks}
    assert set(DATA_SETS["coco"].tasks) < tasks
    assert {"semseg", "depth", "saliency", "edge"} < tasks


def test_coco_pairs_on_real_images_have_two_clients_for_every_coco_task() -> None:
    tasks = [client.tasks for client in load_scenario("coco_mt200_pairs").clients]
    assert tasks == [(task,) for task in DATA_SETS["coco"].tasks for _ in range(2)]
