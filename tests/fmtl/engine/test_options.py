"""What an engine may be asked for."""

from __future__ import annotations

import pytest

from fmtl.engine import Engine, EngineError
from fmtl.engine.ray_cluster import default_workers, machine_cpus, require_machine


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"name": "cloud"}, "engine"),
        ({"name": "ray", "workers": 0}, "workers"),
        ({"name": "ray", "cpus_per_client": 0}, "cpus-per-client"),
        ({"name": "ray", "gpus_per_client": -0.5}, "gpus-per-client"),
        ({"name": "inline", "workers": 2}, "workers"),
        ({"name": "inline", "gpus_per_client": 0.5}, "gpus-per-client"),
        ({"name": "inline", "ray_address": "auto"}, "ray-address"),
    ],
)
def test_impossible_engine_is_refused_with_its_setting(fields: dict[str, object], setting: str) -> None:
    with pytest.raises(EngineError, match=setting):
        Engine(**fields)


@pytest.mark.parametrize(
    ("fields", "setting"), [({"cpus_per_client": 100_000}, "cpus-per-client"), ({"gpus_per_client": 64}, "gpus-per")]
)
def test_resources_that_this_machine_lacks_are_refused_before_a_cluster_is_started(
    fields: dict[str, object], setting: str
) -> None:
    with pytest.raises(EngineError, match=setting):
        require_machine(Engine("ray", **fields))


def test_as_many_workers_as_the_cpus_allow() -> None:
    assert default_workers(Engine("ray")) == machine_cpus()
    assert default_workers(Engine("ray", cpus_per_client=machine_cpus() + 1)) == 1
