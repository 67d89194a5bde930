"""Find a task by the name that scenarios, samples and array names use."""

from client_app.tasks.base import Task
from client_app.tasks.depth import Depth
from client_app.tasks.edge import EdgeDetection
from client_app.tasks.instance import InstanceSegmentation
from client_app.tasks.keypoints import Keypoints
from client_app.tasks.normals import SurfaceNormals
from client_app.tasks.panoptic import Panoptic
from client_app.tasks.parts import HumanParts
from client_app.tasks.saliency import Saliency
from client_app.tasks.semseg import SemanticSegmentation
from client_app.tasks.stuff import Stuff

_CLASSES: tuple[type[Task], ...] = (
    SemanticSegmentation,
    HumanParts,
    Saliency,
    SurfaceNormals,
    EdgeDetection,
    Depth,
    InstanceSegmentation,
    Keypoints,
    Stuff,
    Panoptic,
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
