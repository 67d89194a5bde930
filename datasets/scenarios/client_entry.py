"""One participant of a scenario: its data, tasks, encoder and local settings, checked one by one and together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from fmtl_datasets.catalogue import BSDS_EDGE_DISTANCE, DATA_SETS, OWN_KEYS
from fmtl_datasets.scenarios.scenario_file import ScenarioError
from fmtl_datasets.scenarios.share import Count, Share, StrictModel, Whole, kebab
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.shared.privacy import Privacy
from pydantic import Field, field_validator, model_validator

DATA_ROOT_VARIABLE = "FMTL_DATA_ROOT"

PATTERN_WORDS: Mapping[str, str] = {
    "name": "1 to 64 letters, digits, '-' or '_'",
    "train-list": "1 to 64 letters, digits, '-' or '_'",
    "validation-list": "1 to 64 letters, digits, '-' or '_'",
    "device": "auto, cpu, cuda or cuda:N",
}
"""What the patterned keys allow, in words for error messages."""

Side = Annotated[int, Field(ge=32, le=4096, strict=True)]
ListName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ClientEntry(StrictModel):
    """One participant of a scenario.

    Attributes:
        name: unique among the clients.
        dataset: a name in ``fmtl_datasets.catalogue.DATA_SETS``.
        tasks: what it trains; the data set must offer them.
        image_size: height and width, in pixels, of what the network sees.
        data_root: folder of the data set; relative paths lie under ``FMTL_DATA_ROOT``. Not for procedural.
        domain: ``indoor`` or ``outdoor``; procedural only (indoor where left out).
        data_seed: seed of the procedural scenes, or of the shuffle that shares are cut from.
        fit: ``resize`` scales every image to ``image-size`` once, when it is read; ``inside`` scales it to the largest
            size of the same shape that fits inside, and pads; ``pad`` keeps the native scale and crops or pads to
            ``image-size`` (the published recipe).
        normalisation: ``imagenet`` (mean and standard deviation) or ``half`` (RGB / 128 - 1).
        share: the part of the training images that is this client's; where no client of a data set gives one, the
            scenario divides the images equally, in the order of the file.
        train_images: at most this many images of the share; required for procedural, whose supply is endless.
        validation_images: at most this many validation images; required for procedural.
        train_list: name of the image list to train on; the data set's training list where left out.
        validation_list: name of the image list to score on; the data set's validation list where left out.
        own_validation: the fraction of the client's own share (its end) that it does not train on. It scores on that
            instead of the data set's validation list; where ``validation-list`` is given too, it scores on the list.
        parts_flags: ``own``, or ``reference`` for the published code's defect (see ``fmtl_datasets.shared.source``).
        stuff_labels: ``panoptic`` or ``stuff``, the annotation that stuff classes come from.
        augment: ``none``, ``flip``, or ``reference`` (the full published training chain).
        encoder: a timm name or the name of a preset.
        encoder_weights: ``none``, ``hub``, or a safetensors file; relative paths lie under ``FMTL_DATA_ROOT``.
        allow_unmatched_weights: load what fits of the weights file instead of refusing a file that does not fit whole.
        decoder_width: channels of each decoder, a multiple of 4.
        batch_norm: ``train`` or ``eval``: mode of the encoder's batch norm during training.
        local_epochs: passes over the client's images in each round.
        batch_size: images in a training step.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        edge_distance: largest matching distance of odsF, as a fraction of the image diagonal.
        smallest_anchor: side in pixels of the smallest boxes that detection starts from; it doubles at every level.
        privacy: clipping and noise on everything the client uploads; none where left out.
        contact_sheet: this many validation images are drawn with labels and predictions when the run ends, into a
            picture that stays with the client; 0 for none.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    dataset: str
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: tuple[Side, Side]
    data_root: Annotated[str, Field(min_length=1)] | None = None
    domain: Literal["indoor", "outdoor"] | None = None
    data_seed: Whole = 0
    fit: Literal["resize", "inside", "pad"] = "resize"
    normalisation: Literal["imagenet", "half"] = "imagenet"
    share: Share | None = None
    train_images: Count | None = None
    validation_images: Count | None = None
    train_list: ListName | None = None
    validation_list: ListName | None = None
    own_validation: Annotated[float, Field(gt=0, lt=1)] | None = None
    parts_flags: Literal["own", "reference"] = "own"
    stuff_labels: Literal["panoptic", "stuff"] = "panoptic"
    augment: Literal["none", "flip", "reference"] = "flip"
    encoder: Annotated[str, Field(min_length=1)]
    encoder_weights: Annotated[str, Field(min_length=1)] = "none"
    allow_unmatched_weights: Literal["true", "false"] = "false"
    decoder_width: Annotated[int, Field(ge=4, le=1024, multiple_of=4, strict=True)] = 96
    batch_norm: Literal["train", "eval"] = "train"
    local_epochs: Count = 1
    batch_size: Count = 8
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:\d{1,3})$")] = "auto"
    edge_distance: Annotated[float, Field(gt=0, le=0.5)] = BSDS_EDGE_DISTANCE
    smallest_anchor: Annotated[float, Field(ge=4, le=256)] = 32.0
    privacy: Privacy | None = None
    contact_sheet: Annotated[int, Field(ge=0, le=64, strict=True)] = 0

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_data_set(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = {kebab(str(key)): value for key, value in data.items()}
        dataset = str(filled.get("dataset"))
        if dataset in DATA_SETS:
            filled.setdefault("edge-distance", DATA_SETS[dataset].edge_distance)
        if dataset == "procedural":
            filled.setdefault("domain", "indoor")
        return filled

    @field_validator("dataset")
    @classmethod
    def _known_data_set(cls, dataset: str) -> str:
        if dataset not in DATA_SETS:
            raise ValueError(f"unknown data set; known data sets: {', '.join(DATA_SETS)}")
        return dataset

    @field_validator("tasks")
    @classmethod
    def _known_tasks(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [task for task in tasks if task not in TASKS]
        if unknown:
            raise ValueError(f"unknown task {', '.join(map(repr, unknown))}; known tasks: {', '.join(TASKS)}")
        if len(set(tasks)) != len(tasks):
            raise ValueError("a task is listed twice")
        return tasks

    @model_validator(mode="after")
    def _possible(self) -> Self:
        offered = DATA_SETS[self.dataset].tasks
        missing = [task for task in self.tasks if task not in offered]
        if missing:
            raise ValueError(f"dataset {self.dataset} has no {', '.join(missing)}; it offers {', '.join(offered)}")
        for key, datasets in OWN_KEYS.items():
            if self.dataset not in datasets and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"'{kebab(key)}' is for dataset {' or '.join(datasets)} only; remove it here")
        if self.dataset == "procedural":
            self._possible_procedural()
        elif self.data_root is None:
            raise ValueError(f"dataset {self.dataset} needs 'data-root', the folder that holds it")
        if self.train_images is not None and self.batch_size > self.train_images:
            raise ValueError(f"batch-size {self.batch_size} is larger than train-images {self.train_images}")
        return self

    def _possible_procedural(self) -> None:
        if self.data_root is not None:
            raise ValueError("'data-root' is not for dataset procedural, which reads no files; remove it here")
        if self.train_images is None or self.validation_images is None:
            raise ValueError("dataset procedural needs 'train-images' and 'validation-images': its supply is endless")
        if self.share is not None and self.share.part is None:
            raise ValueError("a share of dataset procedural is {part: P, of: N}: no fraction of an endless supply")
        if self.share is not None and self.share.after:
            raise ValueError("a share of dataset procedural has no 'after': its scenes are not shuffled")

    @property
    def pool(self) -> tuple[str, str | None, int | None]:
        """What shares are cut from: clients of one pool divide the same images between them.

        For procedural another seed is another supply of scenes; for files on disk it only shuffles the same list.
        """
        if self.data_root is None:
            return (self.dataset, None, self.data_seed)
        return (self.dataset, f"{self.root_name}:{self.training_list}", None)

    @property
    def training_list(self) -> str:
        """Name of the image list that it trains on."""
        return self.train_list or DATA_SETS[self.dataset].training_list

    @property
    def root_name(self) -> str:
        """The data set's folder, written the same way however the file names it.

        A relative path stays as it is where ``FMTL_DATA_ROOT`` is not set.
        """
        path = Path(self.data_root or "").expanduser()
        root = os.environ.get(DATA_ROOT_VARIABLE)
        if not (path.is_absolute() or root):
            return str(path)
        return os.path.realpath(Path(root or "").expanduser() / path)

    def data_path(self) -> Path:
        """The data set's folder, relative paths resolved.

        Raises:
            ScenarioError: the data set reads no files, or ``FMTL_DATA_ROOT`` is needed and not set.
        """
        if self.data_root is None:
            raise ScenarioError(f"client {self.name}: dataset {self.dataset} has no data-root.")
        return self._resolve("data-root", self.data_root)

    def weights_path(self) -> Path | None:
        """The encoder's weights file, relative paths resolved; None for ``none`` and ``hub``.

        Raises:
            ScenarioError: ``FMTL_DATA_ROOT`` is needed and not set.
        """
        if self.encoder_weights in ("none", "hub"):
            return None
        return self._resolve("encoder-weights", self.encoder_weights)

    def _resolve(self, key: str, value: str) -> Path:
        path = Path(value).expanduser()
        if path.is_absolute():
            return path
        root = os.environ.get(DATA_ROOT_VARIABLE)
        if not root:
            raise ScenarioError(
                f"client {self.name}: {key} = {value!r} is a relative path, which is looked up under the environment "
                f"variable {DATA_ROOT_VARIABLE}; that is not set. Set it to the folder that holds {value!r}, or give "
                f"an absolute path."
            )
        return Path(root).expanduser().absolute() / path
