from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from client_app.training.batches import LocalData, epoch_order, evaluation_batches, training_batches
from client_app.training.seeds import derive_seed


class Numbers:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> dict[str, Any]:
        return {"image": torch.tensor(float(index))}


def collate(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {"image": torch.stack([sample["image"] for sample in samples])}


def noisy(sample: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
    return {"image": sample["image"] + torch.rand((), generator=generator) / 2}


def data(count: int, threads: int = 0) -> LocalData:
    return LocalData(Numbers(count), Numbers(count), noisy, dict, collate, {}, threads)


def images(batches: Iterable[dict[str, torch.Tensor]]) -> list[list[float]]:
    return [batch["image"].tolist() for batch in batches]


def test_an_incomplete_last_batch_is_dropped() -> None:
    order = epoch_order(10, 4, np.random.default_rng(0))
    assert [len(indices) for indices in order] == [4, 4]
    assert len({index for indices in order for index in indices}) == 8


def test_a_split_smaller_than_a_batch_is_one_batch_of_all() -> None:
    assert [sorted(indices) for indices in epoch_order(3, 8, np.random.default_rng(0))] == [[0, 1, 2]]


def test_evaluation_keeps_order_and_the_last_incomplete_batch() -> None:
    assert images(evaluation_batches(data(5), 2)) == [[0, 1], [2, 3], [4]]


def test_equal_seeds_give_equal_batches_and_any_other_part_gives_others() -> None:
    first = images(training_batches(data(8), 4, (0, "a", 1, 0)))
    assert images(training_batches(data(8), 4, (0, "a", 1, 0))) == first
    for other in ((1, "a", 1, 0), (0, "b", 1, 0), (0, "a", 2, 0), (0, "a", 1, 1)):
        assert images(training_batches(data(8), 4, other)) != first


def test_threads_change_nothing_but_speed() -> None:
    seed = (0, "a", 1, 0)
    assert images(training_batches(data(21, threads=3), 4, seed)) == images(training_batches(data(21), 4, seed))


def test_seeds_tell_numbers_from_texts_and_parts_from_their_concatenation() -> None:
    seeds = {derive_seed("1"), derive_seed(1), derive_seed("a", "b"), derive_seed("ab"), derive_seed("b", "a")}
    assert len(seeds) == 5
