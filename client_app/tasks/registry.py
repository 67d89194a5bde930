"""Find a task by the name that scenarios, samples and array names use."""

from collections.abc import Callable, Mapping

from client_app.tasks.base import Task
from client_app.tasks.depth import Depth
from client_app.tasks.edge import EdgeDetection
from client_app.tasks.normals import SurfaceNormals
from client_app.tasks.parts import HumanParts
from client_app.tasks.saliency import Saliency
from client_app.tasks.semseg import SemanticSegmentation

_TASKS: Mapping[str, Callable[[], Task]] = {
    "semseg": SemanticSegmentation,
    "parts": HumanParts,
    "saliency": Saliency,
    "normals": SurfaceNormals,
    "edge": EdgeDetection,
    "depth": Depth,
}
TRAINED_TASKS: tuple[str, ...] = tuple(_TASKS)
"""Tasks a client can train."""
LABEL_ONLY_TASKS: tuple[str, ...] = ("instance", "keypoints", "stuff", "panoptic")
"""Tasks that data sets can label, but no client trains: there is no decoder and no loss for them."""


class UnknownTaskError(ValueError):
    """The task name is not one that a client can train."""


def get_task(name: str) -> Task:
    """Return the task of this name.

    Raises:
        UnknownTaskError: no such task, or one whose labels exist but which cannot be trained.
    """
    known = ", ".join(TRAINED_TASKS)
    if name in LABEL_ONLY_TASKS:
        raise UnknownTaskError(
            f"Task {name!r} has labels but cannot be trained in this version: there is no decoder, loss or metric for "
            f"it. Tasks that can be trained: {known}."
        )
    if name not in _TASKS:
        raise UnknownTaskError(f"Unknown task {name!r}. Tasks that can be trained: {known}.")
    return _TASKS[name]()


def output_channels(tasks: tuple[str, ...], num_classes: Mapping[str, int]) -> dict[str, int]:
    """Return the head channels of several tasks by name, as a model configuration wants them.

    Raises:
        UnknownTaskError: a task cannot be trained.
        ValueError: the data set gives no class count for a task that needs one.
    """
    return {name: get_task(name).output_channels(num_classes) for name in tasks}
