"""The table of what privacy costs."""

from __future__ import annotations

import pytest

from benchmarks import privacy
from client_app.privacy import Account


@pytest.mark.long
def test_a_row_for_every_noise_with_the_epsilon_of_its_uploads(capsys: pytest.CaptureFixture[str]) -> None:
    small = "--seeds 0 --rounds 2 --images 4 --epochs 1"
    privacy.main(["--strategies", "local,fedper", "--noise", "2,0.5", *small.split()])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|"))[:3] for line in lines[2:]]
    spent = {noise: f"{Account({noise: 2}).epsilon(1e-5):.3g}" for noise in (2.0, 0.5)}
    assert rows == [
        ("local", "none", "-"),
        ("fedper", "none", "-"),
        ("fedper", "2", spent[2.0]),
        ("fedper", "0.5", spent[0.5]),
    ]
