"""Pretrained encoder weights: from timm's hub or a safetensors file, with an account of every key.

A network whose pretrained weights silently failed to load trains on, only worse. So every array of the encoder has to
be found, every array of the file has to be used or be known as unused, and the report names counts and a hash.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from client_app.model.encoder import Encoder, resolve_encoder

SETTING = "encoder-weights"
ALLOW_SETTING = "allow-unmatched-weights"


class WeightsError(ValueError):
    """Pretrained weights cannot be had, cannot be read, or do not fit the encoder."""


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded into the encoder, and what was not. All keys are named as in the encoder or in the file.

    Args:
        source: "none", or the file name; never a whole path, which would tell about the client's machine.
        matched: number of arrays loaded.
        missing: encoder arrays that the source lacks.
        unexpected: source arrays that no timm build of this network has.
        mismatched: encoder arrays whose shape in the source differs.
        ignored_by_design: source arrays of layers that feature maps do not need (classifier and what leads to it).
        initialised_by_design: encoder arrays that no classification network has (output norms of a preset).
        sha256: hash over names, shapes and float32 or int64 values of the loaded arrays; empty if none.
    """

    source: str
    matched: int = 0
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    ignored_by_design: tuple[str, ...] = ()
    initialised_by_design: tuple[str, ...] = ()
    sha256: str = ""

    def summary(self) -> str:
        """Return one line for the log."""
        if self.source == "none":
            return "encoder weights: none, random start"
        unmatched = f"{len(self.missing)} missing, {len(self.mismatched)} of another shape"
        return (
            f"encoder weights: {self.source}: {self.matched} arrays matched, {unmatched}, {len(self.unexpected)} "
            f"unexpected, {len(self.ignored_by_design)} ignored by design, {len(self.initialised_by_design)} "
            f"initialised by design, sha256 {self.sha256}"
        )


def load_encoder_weights(
    encoder: Encoder, encoder_name: str, source: Literal["none", "hub"] | Path, *, allow_unmatched: bool = False
) -> WeightsReport:
    """Load pretrained weights into the encoder, in place.

    Args:
        encoder: the encoder, as `build_encoder(encoder_name, ...)` made it.
        encoder_name: its preset or timm name.
        source: "none" (nothing is loaded), "hub" (timm's published weights, downloaded once), or a safetensors file
            with the keys of timm's network, with or without the layers of the classifier.
        allow_unmatched: load what fits, and only report the rest.

    Returns:
        The account of all keys.

    Raises:
        WeightsError: the weights cannot be fetched or read, or (unless allowed) keys or shapes do not match.
    """
    if source == "none":
        return WeightsReport("none")
    path = _download(encoder_name) if source == "hub" else Path(source)
    label = f"hub {_hub_file(encoder_name)[0]}" if source == "hub" else path.name
    arrays, report = _match(encoder, encoder_name, _read(path, encoder_name), label)
    if not allow_unmatched and (report.missing or report.unexpected or report.mismatched):
        raise WeightsError(_mismatch_message(report, encoder_name, path))
    if not arrays:
        raise WeightsError(f"{SETTING} = {str(path)!r}: not one array fits encoder {encoder_name!r}.")
    target = encoder.state_dict()
    with torch.no_grad():
        for key, value in arrays.items():
            target[key].copy_(value)
    return report


def _mismatch_message(report: WeightsReport, encoder_name: str, path: Path) -> str:
    """Say which keys do not match and what to do about it."""
    return (
        f"{SETTING} = {str(path)!r} does not fit encoder {encoder_name!r}: {report.matched} arrays match; "
        f"missing: {_some(report.missing)}; unexpected: {_some(report.unexpected)}; "
        f"of another shape: {_some(report.mismatched)}. Give the weights of exactly this network"
        f"{_where_to_get(encoder_name)}, or set {ALLOW_SETTING} to load only what fits."
    )


def _match(
    encoder: Encoder, encoder_name: str, loaded: dict[str, Tensor], source: str
) -> tuple[dict[str, Tensor], WeightsReport]:
    """Pair the arrays of a file with the encoder's; try timm's own converter where the plain keys do not fit."""
    classifier = _classification_network(encoder_name)
    plain = _pair(encoder, classifier, loaded, source)
    converter = getattr(sys.modules[type(classifier).__module__], "checkpoint_filter_fn", None)
    if converter is None or not (plain[1].missing or plain[1].unexpected or plain[1].mismatched):
        return plain
    try:
        # Transformers without stages are wrapped once more to give feature maps; converters know the inner network.
        converted = converter(dict(loaded), getattr(encoder.backbone, "model", encoder.backbone))
    except (KeyError, AttributeError, RuntimeError, TypeError, ValueError):
        # Converters expect one publisher's format; a file they cannot read is judged by its plain keys.
        return plain
    other = _pair(encoder, classifier, converted, source)
    return other if other[1].matched > plain[1].matched else plain


def _pair(
    encoder: Encoder, classifier: torch.nn.Module, loaded: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], WeightsReport]:
    """Return the arrays by encoder key, and the account of all keys."""
    state = encoder.state_dict()
    own = {_canonical(key): key for key in state if key.startswith("backbone.")}
    by_design = {_canonical(f"backbone.{key}") for key in classifier.state_dict()} - set(own)
    offered = {_canonical(f"backbone.{key}"): key for key in loaded}
    shared = [key for key in own if key in offered]
    fits = {own[key]: loaded[offered[key]] for key in shared if loaded[offered[key]].shape == state[own[key]].shape}
    report = WeightsReport(
        source=source,
        matched=len(fits),
        missing=tuple(own[key] for key in own if key not in offered),
        unexpected=tuple(name for key, name in offered.items() if key not in own and key not in by_design),
        mismatched=tuple(own[key] for key in shared if own[key] not in fits),
        ignored_by_design=tuple(name for key, name in offered.items() if key in by_design),
        initialised_by_design=tuple(key for key in state if not key.startswith("backbone.")),
        sha256=_hash(fits),
    )
    return fits, report


def _canonical(key: str) -> str:
    """Spell a key the same for a network and its feature-map form, where timm joins outer names by underscores."""
    return key.removeprefix("backbone.").removeprefix("model.").replace("_", ".")


def _classification_network(encoder_name: str) -> torch.nn.Module:
    """Return timm's whole network, names and shapes only."""
    with torch.device("meta"):
        network: torch.nn.Module = timm.create_model(resolve_encoder(encoder_name).timm_name, pretrained=False)
    return network


def _hash(arrays: Mapping[str, Tensor]) -> str:
    """Return SHA-256 over name, shape and value of every array in name order; empty for no arrays."""
    if not arrays:
        return ""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        value = arrays[key]
        plain: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = (
            value.float() if value.is_floating_point() else value.long()
        ).numpy()
        digest.update(f"{key} {list(plain.shape)} {plain.dtype.str}\n".encode())
        digest.update(np.ascontiguousarray(plain).tobytes())
    return digest.hexdigest()


def _read(path: Path, encoder_name: str) -> dict[str, Tensor]:
    """Read a safetensors file, refusing what is absent, damaged or not finite."""
    if not path.is_file():
        raise WeightsError(
            f"{SETTING} = {str(path)!r}: there is no such file. Expected 'none', 'hub', or a safetensors file"
            f"{_where_to_get(encoder_name)}."
        )
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{SETTING} = {str(path)!r} cannot be read as safetensors ({error}). The file is damaged or in another "
            f"format; pickled formats (.pth, .bin) are not accepted. Get it again{_where_to_get(encoder_name)}."
        ) from error
    broken = [key for key, value in arrays.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{SETTING} = {str(path)!r} holds values that are NaN or infinite in {_some(broken)}. The file is "
            f"damaged; get it again{_where_to_get(encoder_name)}."
        )
    return arrays


def _hub_file(encoder_name: str) -> tuple[str, str]:
    """Return repository and file name of timm's published weights, both empty if there are none."""
    config = timm.get_pretrained_cfg(resolve_encoder(encoder_name).timm_name, allow_unregistered=False)
    if config is None or not config.hf_hub_id:
        return "", ""
    named = config.hf_hub_filename or ""
    return config.hf_hub_id, named if named.endswith(".safetensors") else "model.safetensors"


def _where_to_get(encoder_name: str) -> str:
    """Return where the published weights lie, as the end of a sentence; empty if timm names no place."""
    repository, file = _hub_file(encoder_name)
    return f" (timm publishes it as {file} of Hugging Face repository {repository})" if repository else ""


def _download(encoder_name: str) -> Path:
    """Return the local copy of timm's published weights, fetching it the first time."""
    repository, file = _hub_file(encoder_name)
    if not repository:
        raise WeightsError(
            f"{SETTING} = 'hub': timm publishes no weights for {encoder_name!r}. Use 'none' or a safetensors file."
        )
    try:
        return Path(hf_hub_download(repository, file))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise WeightsError(
            f"{SETTING} = 'hub': cannot fetch {file} of Hugging Face repository {repository} ({type(error).__name__}). "
            f"Without a network: download that file on another machine, copy it here, and set {SETTING} to its path."
        ) from error


def _some(keys: Iterable[str]) -> str:
    """Return up to eight names and how many more there are."""
    names = list(keys)
    shown = ", ".join(names[:8]) or "none"
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
