"""Where defaults come from: a source is named only for the method that it speaks of."""

import pytest

from fmtl_strategies.parameters import origin_of, parameter_origins
from fmtl_strategies.registry import strategy_class


def origins(name: str) -> dict[str, str]:
    return parameter_origins(strategy_class(name).parameters_model)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad", "fedavgm", "fedprox", "ditto"])
def test_what_is_inherited_from_fedavg_is_ours_in_methods_that_its_source_does_not_speak_of(name: str) -> None:
    assert origin_of(origins("fedavg")["decoder-scope"]) == origin_of(origins("fedavg")["weighting"]) == "code"
    for key in ("decoder-scope", "weighting"):
        assert origins(name)[key] == "ours, as in FedHCA2's code for fedavg"


def test_momentum_of_fedavgm_names_the_paper_it_is_from() -> None:
    assert origins("fedavgm")["momentum"].startswith("Reddi et al. 2021")
    assert origin_of(origins("mas")["weighting"]) == "ours"
