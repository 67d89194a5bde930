"""What `model.json` says of a saved model."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SavedTask(BaseModel):
    """One task of a saved model.

    Attributes:
        metric: name of its score.
        higher_is_better: direction of the score.
        score: on the client's validation images; None where there is none.
        missing_because: why there is none.
        classes: names of the classes in the order of the output's channels; empty where they have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    higher_is_better: bool
    score: float | None = None
    missing_because: str | None = None
    classes: tuple[str, ...] = ()


class ModelDescription(BaseModel):
    """Everything but the numbers that a model consists of, and where it comes from.

    Attributes:
        format: version of this form.
        client: name of the client.
        strategy: that it was trained under; empty where the run does not say.
        experiment: name of the run.
        round: the round after which it was scored.
        tasks: by name, in the order of the configuration.
        num_classes: class counts of the data set, as the tasks need them.
        encoder: a preset or a timm network.
        image_size: (height, width) in pixels of training images.
        scored_size: (height, width) in pixels that images are padded to when the model is scored.
        decoder_width: channels inside decoders.
        smallest_anchor: side in pixels of the smallest boxes of detection.
        normalisation: of input images.
        weights: the encoder's initial weights, as the scenario names them.
        entry_sha256: hash of the client's entry in the scenario.
        versions: of the packages that wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    client: str
    strategy: str = ""
    experiment: str
    round: int = Field(ge=0)
    tasks: dict[str, SavedTask] = Field(min_length=1)
    num_classes: dict[str, int]
    encoder: str
    image_size: tuple[int, int]
    scored_size: tuple[int, int]
    decoder_width: int
    smallest_anchor: float
    normalisation: Literal["imagenet", "half"]
    weights: str
    entry_sha256: str
    versions: dict[str, str]
