"""Who a client is: what it answers when the server asks, once per run (design.md section 4, step 1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from fmtl_strategies.contract.groups import BUFFERS_PREFIX, GROUP_PATTERN, kind_of, task_of
from fmtl_strategies.contract.layout import GroupLayout, Strict

PROTOCOL_VERSION = 1
MAX_VALUES_PER_CLIENT = 2_000_000_000
MAX_EXAMPLES = 100_000_000

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
GroupName = Annotated[str, Field(pattern=GROUP_PATTERN)]


class TaskProfile(Strict):
    """One task of a client: its metric and which direction of it is better."""

    name: Name
    metric: str = Field(min_length=1, max_length=64)
    higher_is_better: bool


class ClientProfile(Strict):
    """What the server knows of a client: names, counts, metrics and array layouts, never data or paths."""

    protocol: int
    client: Name
    dataset: Name
    encoder: str = Field(min_length=1, max_length=128)
    tasks: tuple[TaskProfile, ...] = Field(min_length=1, max_length=64)
    train_examples: int = Field(ge=1, le=MAX_EXAMPLES)
    validation_examples: int = Field(ge=0, le=MAX_EXAMPLES)
    local_epochs: int = Field(ge=1, le=10_000)
    groups: dict[GroupName, GroupLayout] = Field(max_length=258)
    weights_report: str = Field(max_length=2000)
    versions: dict[Name, Annotated[str, Field(max_length=64)]] = Field(max_length=32)

    @model_validator(mode="after")
    def _consistent(self) -> ClientProfile:
        if self.protocol != PROTOCOL_VERSION:
            raise ValueError(
                f"client speaks protocol {self.protocol}, this server speaks {PROTOCOL_VERSION}; update the older side"
            )
        names = self.task_names
        if len(set(names)) != len(names):
            raise ValueError(f"client {self.client!r} names a task twice: {names}")
        due = {"encoder", *(f"decoders.{t}" for t in names), *(f"heads.{t}" for t in names)}
        buffers = {group for group in self.groups if group.startswith(BUFFERS_PREFIX)}
        if set(self.groups) - buffers != due:
            raise ValueError(
                f"client {self.client!r} has groups {sorted(self.groups)}, its tasks call for {sorted(due)}"
            )
        if strange := buffers - {BUFFERS_PREFIX + group for group in due}:
            raise ValueError(f"client {self.client!r} has buffers of groups it does not have: {sorted(strange)}")
        total = sum(layout.size for layout in self.groups.values())
        if total > MAX_VALUES_PER_CLIENT:
            raise ValueError(f"client {self.client!r} has {total} parameters, the limit is {MAX_VALUES_PER_CLIENT}")
        return self

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the client's tasks, in its order."""
        return tuple(task.name for task in self.tasks)

    def groups_of_kind(self, kind: str) -> list[str]:
        """Names of the client's groups of one kind, in the order of its tasks."""
        order = {name: i for i, name in enumerate(self.task_names)}
        return sorted((g for g in self.groups if kind_of(g) == kind), key=lambda g: order.get(task_of(g) or "", -1))
