"""Clients that read one folder: no image is trained on by two of them, none that one trains on is scored by another.

Clients with one training list are apart by their shares, which a scenario checks when it is loaded. Different lists of
a folder can have images in common, which only their files tell: they are compared here, where the files are at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from fmtl_datasets.registry import open_source, reserved_indices, selected_indices
from fmtl_datasets.scenarios.client_entry import ClientEntry
from fmtl_datasets.scenarios.scenario import Scenario, ScenarioError
from fmtl_datasets.shared.source import SourceSettings


@dataclass(frozen=True)
class _Images:
    """What a client uses of a folder.

    Attributes:
        entry: the client.
        trained: ids of the images of its share.
        scored: ids of the images it is scored on.
    """

    entry: ClientEntry
    trained: frozenset[str]
    scored: frozenset[str]


def require_apart(scenario: Scenario) -> None:
    """Refuse clients of one folder that have images in common; opens the folders only where lists differ.

    With ``shares: may-overlap`` clients may train on the same images, and on what another holds out of its own share,
    but not on the validation list of another.

    Raises:
        ScenarioError: two clients have images in common; says which, and how many images.
        FileNotFoundError: a data set is not there.
        ValueError: a list is wrong.
    """
    _require_apart(scenario, tuple(client.root_name for client in scenario.clients))


@lru_cache(maxsize=8)
def _require_apart(scenario: Scenario, roots: tuple[str, ...]) -> None:
    """Look once in a process: a simulated client asks at every message."""
    folders: dict[tuple[str, str], list[ClientEntry]] = {}
    for client, root in zip(scenario.clients, roots, strict=True):
        if client.data_root is not None:
            folders.setdefault((client.dataset, root), []).append(client)
    for clients in folders.values():
        if len({client.training_list for client in clients}) > 1:
            for one, other in combinations(map(_images, clients), 2):
                _require_pair_apart(one, other, may_overlap=scenario.shares == "may-overlap")


def _images(entry: ClientEntry) -> _Images:
    source = open_source(entry.dataset, SourceSettings(entry.data_path(), None, entry.parts_flags, entry.stuff_labels))
    training, own = reserved_indices(entry, source)
    scoring, scored = selected_indices(entry, source, "validation")
    listed, to_score = source.ids(training), source.ids(scoring)
    return _Images(
        entry, frozenset(listed[int(index)] for index in own), frozenset(to_score[int(index)] for index in scored)
    )


def _require_pair_apart(one: _Images, other: _Images, *, may_overlap: bool) -> None:
    for trainer, scorer in ((one, other), (other, one)):
        common = trainer.trained & scorer.scored
        if common and not (may_overlap and _holds_out(scorer.entry)):
            raise ScenarioError(
                f"client {trainer.entry.name} trains on {len(common)} images ({min(common)!r} is one) that client "
                f"{scorer.entry.name} is scored on, so that scores would be too good: both read "
                f"{scorer.entry.root_name}. {_lists(trainer, scorer)} Choose lists without common images."
            )
    common = one.trained & other.trained
    if common and not may_overlap:
        raise ScenarioError(
            f"clients {one.entry.name} and {other.entry.name} share {len(common)} training images ({min(common)!r} is "
            f"one): both read {one.entry.root_name}. {_lists(one, other)} Choose lists without common images, or one "
            f"list and a 'share' for each, or allow it with shares: may-overlap."
        )


def _holds_out(entry: ClientEntry) -> bool:
    """Whether a client is scored on a part of its own share."""
    return entry.own_validation is not None and entry.validation_list is None


def _lists(one: _Images, other: _Images) -> str:
    return (
        f"Their training lists are {one.entry.training_list!r} and {other.entry.training_list!r}; what is compared is "
        f"the whole share of each, whatever train-images says."
    )
