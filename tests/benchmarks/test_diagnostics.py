from __future__ import annotations

import json

from benchmarks.diagnostics import ranges


def test_range_of_matching_names_by_round_without_the_final_line() -> None:
    lines = [
        json.dumps({"round": 1, "final": False, "diagnostics": {"a/alpha": 0.1, "b/alpha": 0.3, "solve-gap": 9.0}}),
        json.dumps({"round": 2, "final": False, "diagnostics": {"a/alpha": 0.2}}),
        json.dumps({"round": 2, "final": True, "diagnostics": {"a/alpha": 7.0}}),
    ]
    assert ranges(lines, "*/alpha") == {1: (0.1, 0.3), 2: (0.2, 0.2)}
    assert ranges(lines, "none") == {}
