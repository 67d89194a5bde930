"""The tasks a client can train: loss, weight, metric, decoder and head, one file each."""

from client_app.tasks.base import DenseTask, Task
from client_app.tasks.registry import TRAINED_TASKS, UnknownTaskError, get_task

__all__ = ["TRAINED_TASKS", "DenseTask", "Task", "UnknownTaskError", "get_task"]
