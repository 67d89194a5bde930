"""One message to a client, apart from Flower's runtime: what is asked, and by whom."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Kind = Literal["describe", "initial", "train", "evaluate"]
ConfigValue = bool | int | float | str | bytes


class Call(NamedTuple):
    """What a message asks of a client.

    Attributes:
        kind: which of the four questions it is.
        node_config: Flower's node config, which says who this client is.
        run_config: Flower's run config.
        run_id: Flower's number of the run.
    """

    kind: Kind
    node_config: Mapping[str, ConfigValue]
    run_config: Mapping[str, ConfigValue]
    run_id: int
