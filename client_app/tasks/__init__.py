"""The dense tasks a client can train: loss, weight, metric and head channels, one file each."""

from client_app.tasks.base import Task
from client_app.tasks.registry import LABEL_ONLY_TASKS, TRAINED_TASKS, UnknownTaskError, get_task, output_channels

__all__ = ["LABEL_ONLY_TASKS", "TRAINED_TASKS", "Task", "UnknownTaskError", "get_task", "output_channels"]
