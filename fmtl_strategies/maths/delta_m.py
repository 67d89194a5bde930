"""Mean relative change against local training, delta_m (methods of MTL evaluation; FedHCA2 section 4.1)."""

import math
from collections.abc import Sequence
from typing import Literal


def delta_m(
    values: Sequence[float | None],
    local_values: Sequence[float | None],
    higher_is_better: Sequence[bool],
    *,
    missing: Literal["raise", "exclude"] = "raise",
) -> float:
    """Mean signed relative change over all task columns of all clients, in percent; positive is better.

    delta_m = 100/n * sum of (-1)^l (value - local) / local, with l = 1 where lower is better.

    Args:
        values: n metric values of the run, None where missing.
        local_values: the same columns of the local run, in the same units, None where missing.
        higher_is_better: direction of every column.
        missing: "raise" refuses missing values; "exclude" leaves their columns out of the mean. Means over
            different columns cannot be compared, so leaving out must be asked for.

    Returns:
        Percent.

    Raises:
        ValueError: lengths differ, no column is left, a value is NaN or infinite, a local value is 0, or a value
            is missing and `missing` is "raise".
    """
    if not len(values) == len(local_values) == len(higher_is_better):
        raise ValueError(
            "delta_m needs one value, one local value and one direction per column, got "
            f"{len(values)}, {len(local_values)} and {len(higher_is_better)}"
        )
    changes = []
    for column, (value, local, higher) in enumerate(zip(values, local_values, higher_is_better, strict=True)):
        if value is None or local is None:
            if missing == "raise":
                raise ValueError(f"delta_m: column {column} is missing; complete it, or ask for missing='exclude'")
            continue
        if not (math.isfinite(value) and math.isfinite(local)) or local == 0:
            raise ValueError(f"delta_m: column {column} has no relative change from local {local} to {value}")
        change = (value - local) / local
        changes.append(change if higher else -change)
    if not changes:
        raise ValueError("delta_m: no column has both a value and a local value")
    return 100.0 * math.fsum(changes) / len(changes)
