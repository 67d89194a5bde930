"""Splitting tasks into groups that help each other (TAG, arXiv 2109.04617; MAS; methods.md 1.8).

An affinity Z_{i->j} tells how much a step for task i lowers the loss of task j. Pairs nobody measured count as 0:
neither help nor harm.
"""

from collections.abc import Iterator, Mapping, Sequence

Affinities = Mapping[tuple[str, str], float]
Groups = list[list[str]]

MOST_EXHAUSTIVE = 9


def split_score(groups: Sequence[Sequence[str]], affinities: Affinities) -> float:
    """Return sum_j mean_{i in g(j), i != j} Z_{i->j}; a task alone in its group counts 0.

    Args:
        groups: tasks of each group.
        affinities: Z_{i->j} by (i, j).
    """
    return sum(_group_score(group, affinities) for group in groups)


def split_tasks(tasks: Sequence[str], affinities: Affinities, count: int) -> Groups:
    """Split tasks into exactly `count` groups of the largest score; at most one group per task.

    Up to nine tasks every split is tried. With more, groups are merged greedily from single tasks, then tasks move one
    by one as long as the score rises; that may miss the best split. Of equally good splits the first in the
    order of task names is taken.

    Args:
        tasks: names, each once; their order does not matter.
        affinities: Z_{i->j} by (i, j).
        count: number of groups, at least 1.

    Returns:
        Groups in the order of their first tasks; each sorted.
    """
    names = sorted(tasks)
    wanted = min(count, len(names))
    if len(names) > MOST_EXHAUSTIVE:
        found = _improve(_merge_greedily(names, affinities, wanted), affinities)
        return sorted(sorted(group) for group in found)
    if not names:
        return []
    # `max` keeps the first of equals.
    return max(_partitions(names, wanted), key=lambda groups: split_score(groups, affinities))


def best_group(tasks: Sequence[str], groups: Sequence[Sequence[str]], affinities: Affinities) -> int | None:
    """Return the number of the group a client with these tasks belongs to; None where no group holds any of them.

    It is the group that holds most of the tasks; of several, the one whose tasks have the largest sum of affinities
    towards the client's; of several still, the first.

    Args:
        tasks: the client's tasks.
        groups: tasks of each group.
        affinities: Z_{i->j} by (i, j).
    """
    held = [len(set(tasks) & set(group)) for group in groups]
    if not any(held):
        return None
    # Sorted, so that the sum has the same bits whatever order the client lists its tasks in.
    towards = [
        sum(affinities.get((i, j), 0.0) for j in sorted(set(tasks)) for i in group if i != j) for group in groups
    ]
    return max(range(len(groups)), key=lambda number: (held[number], towards[number], -number))


def _group_score(group: Sequence[str], affinities: Affinities) -> float:
    if len(group) < 2:
        return 0.0
    total = sum(affinities.get((i, j), 0.0) for j in group for i in group if i != j)
    return total / (len(group) - 1)


def _partitions(names: Sequence[str], count: int) -> Iterator[Groups]:
    """Yield every split of the names into `count` groups; groups and their tasks in the order of the names."""
    if len(names) < count or (names and not count):
        return
    if not names:
        yield []
        return
    *rest, last = names
    for groups in _partitions(rest, count):
        for number in range(count):
            yield [[*group, last] if i == number else list(group) for i, group in enumerate(groups)]
    for groups in _partitions(rest, count - 1):
        yield [*groups, [last]]


def _merge_greedily(names: Sequence[str], affinities: Affinities, count: int) -> Groups:
    groups = [[name] for name in names]
    while len(groups) > count:
        pairs = [(a, b) for a in range(len(groups)) for b in range(a + 1, len(groups))]
        a, b = max(pairs, key=lambda pair: _gain(groups[pair[0]], groups[pair[1]], affinities))
        groups[a] = groups[a] + groups.pop(b)
    return groups


def _gain(one: Sequence[str], other: Sequence[str], affinities: Affinities) -> float:
    return _group_score([*one, *other], affinities) - split_score([one, other], affinities)


def _improve(groups: Groups, affinities: Affinities) -> Groups:
    """Move single tasks to where the score rises most, until no move raises it; no group is emptied."""
    best, score = groups, split_score(groups, affinities)
    while True:
        candidates = [(split_score(moved, affinities), moved) for moved in _moves(best)]
        found, moved = max(candidates, key=lambda candidate: candidate[0], default=(score, best))
        if found <= score:
            return best
        best, score = moved, found


def _moves(groups: Groups) -> Iterator[Groups]:
    for source, group in enumerate(groups):
        for task in group if len(group) > 1 else ():
            for target in range(len(groups)):
                if target != source:
                    moved = [[name for name in names if name != task] for names in groups]
                    moved[target].append(task)
                    yield moved
