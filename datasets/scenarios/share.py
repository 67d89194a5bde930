"""Which part of a data set's training images belongs to a client, and the strict base of all scenario models."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1, strict=True)]
Whole = Annotated[int, Field(ge=0, strict=True)]


def kebab(name: str) -> str:
    """Return an attribute's name as it is written in a file."""
    return name.replace("_", "-")


class StrictModel(BaseModel):
    """A frozen model with kebab-case keys that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=kebab, populate_by_name=True)

    @classmethod
    def file_keys(cls) -> tuple[str, ...]:
        """The keys of this model as they are written in a file."""
        return tuple(kebab(name) for name in cls.model_fields)


class Share(StrictModel):
    """Which part of a data set's training images belongs to a client: ``part``/``of``, or ``start``/``fraction``.

    Attributes:
        part: number of the part, from 0.
        of: into how many equal parts the shuffled list of images is cut.
        start: where the part begins, as a fraction of the shuffled list.
        fraction: how long it is, as a fraction of the list.
        after: lengths of lists that are shuffled before this one from the same seed. The published code shuffles all
            its data sets with one random state, so the part of a second data set depends on the length of the first.
    """

    part: Whole | None = None
    of: Count | None = None
    start: Annotated[float, Field(ge=0, lt=1)] | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    after: tuple[Count, ...] = ()

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        by_part = self.part is not None and self.of is not None
        by_fraction = self.start is not None and self.fraction is not None
        given = [value for value in (self.part, self.of, self.start, self.fraction) if value is not None]
        if by_part == by_fraction or len(given) != 2:
            raise ValueError("a share is either {part: P, of: N} or {start: S, fraction: F}")
        if self.part is not None and self.of is not None and self.part >= self.of:
            raise ValueError(f"part {self.part} of {self.of} does not exist; parts count from 0 to {self.of - 1}")
        if self.start is not None and self.fraction is not None and self.start + self.fraction > 1 + 1e-9:
            raise ValueError(f"start {self.start} + fraction {self.fraction} is beyond the end of the list (1.0)")
        return self

    def overlaps(self, other: Share) -> bool:
        """Whether two shares of the same list have images in common.

        Two shares of different form, cut into different numbers of parts or from different shuffles, count as
        overlapping: they cannot be promised to be disjoint.
        """
        if self.after != other.after:
            return True
        if self.part is not None and other.part is not None:
            return self.of != other.of or self.part == other.part
        if self.start is None or other.start is None or self.fraction is None or other.fraction is None:
            return True
        tolerance = 1e-9
        begins, ends = max(self.start, other.start), min(self.start + self.fraction, other.start + other.fraction)
        return begins < ends - tolerance
