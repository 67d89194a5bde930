"""Pairs of scenario and strategy in which every strategy meets every trait that a scenario can have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fmtl_datasets.scenarios.scenario import Scenario

RUNS_OF_A_SCENARIO = 2


def traits(scenario: Scenario) -> set[str]:
    """Return what may make a strategy behave differently: data sets, tasks, and how clients differ in them."""
    clients = scenario.clients
    counts = [len(client.tasks) for client in clients]
    return {
        *(client.dataset for client in clients),
        *(task for client in clients for task in client.tasks),
        "single-task" if max(counts) == 1 else "multi-task" if min(counts) > 1 else "single- and multi-task",
        "equal tasks" if len({frozenset(client.tasks) for client in clients}) == 1 else "different tasks",
        "one data set" if len({client.dataset for client in clients}) == 1 else "several data sets",
        "two clients" if len(clients) == 2 else "more clients",
    }


def cover(scenarios: dict[str, Scenario], strategies: Sequence[str]) -> set[tuple[str, str]]:
    """Choose pairs so that every strategy meets every trait and every scenario runs with at least two strategies.

    Args:
        scenarios: by name; small ones are preferred.
        strategies: names.

    Returns:
        (scenario, strategy) pairs, the same at every call.
    """
    traits_of = {name: traits(scenario) for name, scenario in scenarios.items()}
    pairs: set[tuple[str, str]] = set()
    runs: Counter[str] = Counter()

    def add(name: str, strategy: str) -> None:
        if (name, strategy) not in pairs:
            pairs.add((name, strategy))
            runs[name] += 1

    for strategy in strategies:
        missing = set[str]().union(*traits_of.values())
        while missing:
            gain = {
                name: len(missing & found) / len(scenarios[name].clients) ** 0.5 for name, found in traits_of.items()
            }
            name = max(gain, key=lambda name: (gain[name], -runs[name]))
            add(name, strategy)
            missing -= traits_of[name]
    turn = 0
    for name in scenarios:
        while runs[name] < min(RUNS_OF_A_SCENARIO, len(strategies)):
            add(name, strategies[turn % len(strategies)])
            turn += 1
    return pairs
