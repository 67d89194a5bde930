"""One model for all tasks out of the rows of a store, where all clients hold the same parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fmtl_strategies.contract.groups import BUFFERS_PREFIX
from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.round.store import ParameterStore, RowKey


@dataclass
class _Model:
    client: str
    keys: dict[str, RowKey] = field(default_factory=dict)
    layouts: dict[str, GroupLayout] = field(default_factory=dict)

    def fits(self, profile: ClientProfile) -> bool:
        common = self.layouts.keys() & profile.groups.keys()
        return all(self.layouts[group].signature == profile.groups[group].signature for group in common)

    def add(self, profile: ClientProfile) -> None:
        for group, layout in profile.groups.items():
            self.layouts.setdefault(group, layout)
            self.keys.setdefault(group, RowKey(profile.client, group))


def unified_arrays(profiles: Mapping[str, ClientProfile], store: ParameterStore) -> dict[str, FloatArray]:
    """Return the arrays of the model that all clients hold parts of.

    Args:
        profiles: profiles by client name; every group of theirs has a row in the store.
        store: rows that are equal wherever group and layout are.

    Returns:
        Arrays (views) by their name in a client's model: `encoder.<...>`, `decoders.<task>.<...>`,
        `heads.<task>.<...>`, floating-point buffers among them. Clients that have a group in common but not its layout
        (another encoder, another number of classes) cannot share a model: there is then more than one, each with all
        the groups of its clients, and the names begin with `model-of-<first client>/`.
    """
    models: list[_Model] = []
    for name in sorted(profiles):
        fitting = next((model for model in models if model.fits(profiles[name])), None)
        if fitting is None:
            fitting = _Model(name)
            models.append(fitting)
        fitting.add(profiles[name])
    found: dict[str, FloatArray] = {}
    for model in models:
        prefix = f"model-of-{model.client}/" if len(models) > 1 else ""
        for group, key in model.keys.items():
            for array_name, array in model.layouts[group].unpack(store.parameters(key)).items():
                found[f"{prefix}{group.removeprefix(BUFFERS_PREFIX)}.{array_name}"] = array
    return found
