"""Find a task by the name that scenarios, samples and array names use."""

from client_app.tasks import dense, objects
from client_app.tasks.base import Task

_CLASSES: tuple[type[Task], ...] = (
    dense.SemanticSegmentation,
    dense.HumanParts,
    dense.Saliency,
    dense.SurfaceNormals,
    dense.EdgeDetection,
    dense.Depth,
    objects.InstanceSegmentation,
    objects.Keypoints,
    dense.Stuff,
    objects.Panoptic,
)
_TASKS = {task.name: task for task in _CLASSES}
TRAINED_TASKS: tuple[str, ...] = tuple(_TASKS)
"""Tasks a client can train."""


class UnknownTaskError(ValueError):
    """The task name is not one that a client can train."""


def get_task(name: str) -> Task:
    """Return the task of this name, with its default settings.

    Raises:
        UnknownTaskError: no such task.
    """
    if name not in _TASKS:
        raise UnknownTaskError(f"Unknown task {name!r}. Tasks that can be trained: {', '.join(TRAINED_TASKS)}.")
    return _TASKS[name]()
