"""The encoder: any timm network that offers feature maps, and the FedHCA2 Swin-T build as a preset."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import timm
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm

MAX_LEVELS = 4


@dataclass(frozen=True)
class EncoderPreset:
    """A named encoder build.

    Args:
        timm_name: the timm architecture underneath.
        options: keyword arguments for `timm.create_model`.
        output_norms: whether every feature map passes its own LayerNorm over channels.
        pads_first: whether Swin's feature maps are padded to whole windows before these are shifted.
    """

    timm_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    output_norms: bool = False
    pads_first: bool = False


PRESETS: Mapping[str, EncoderPreset] = {
    # FedHCA2 (arXiv 2311.13250) trains Swin-T as mmsegmentation builds it: a LayerNorm on each stage output, and
    # padding before the shift. The order matters wherever a map is not whole windows, as at 448x576 and 512x512.
    "swin-t-fedhca2": EncoderPreset(
        "swin_tiny_patch4_window7_224", {"drop_path_rate": 0.1}, output_norms=True, pads_first=True
    ),
}


class UnknownEncoderError(ValueError):
    """The encoder name is neither a preset nor a timm network with feature maps."""


class Encoder(nn.Module):
    """Image to feature maps, shallow to deep. Every task of a client reads the same maps.

    Args:
        backbone: a timm network built with `features_only=True`.
        output_norms: whether to normalise each map over channels with a LayerNorm of its own.
    """

    def __init__(self, backbone: nn.Module, *, output_norms: bool) -> None:
        super().__init__()
        info: Any = backbone.feature_info
        self.backbone = backbone
        self.channels: tuple[int, ...] = tuple(info.channels())[-MAX_LEVELS:]
        self.strides: tuple[int, ...] = tuple(info.reduction())[-MAX_LEVELS:]
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels) if output_norms else None
        # timm's Format is a str enum; networks that only make NCHW maps do not carry it.
        self._channels_last_output = str(getattr(backbone, "output_fmt", "NCHW")).endswith("NHWC")
        self._batch_norm_frozen = False

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return up to four maps (B, C_l, H / stride_l, W / stride_l), strides not decreasing, for (B, 3, H, W)."""
        features: list[Tensor] = self.backbone(image)[-MAX_LEVELS:]
        if self.norms is not None:
            channel_last = [f if self._channels_last_output else f.permute(0, 2, 3, 1) for f in features]
            return [norm(f).permute(0, 3, 1, 2) for norm, f in zip(self.norms, channel_last, strict=True)]
        return [f.permute(0, 3, 1, 2) for f in features] if self._channels_last_output else features

    def freeze_batch_norm_statistics(self) -> None:
        """Keep every batch norm in evaluation mode from now on, also through `train()`; its affine part still learns.

        Statistics of a pretrained encoder are worth more than those of a few small batches, and where batch norm was
        folded into the weights, training mode would normalise every layer a second time.
        """
        self._batch_norm_frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "Encoder":
        """Set training or evaluation mode, except for batch norms that were frozen."""
        super().train(mode)
        if self._batch_norm_frozen:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


class PadsFirst(SwinTransformerBlock):
    """A Swin block that pads its map to whole windows before it shifts them; timm's own shifts first."""

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        below, after = -height % self.window_size[0], -width % self.window_size[1]
        attended: Tensor = super()._attn(pad(x, (0, 0, 0, after, 0, below)))  # type: ignore[no-untyped-call]
        return attended[:, :height, :width]


def resolve_encoder(name: str) -> EncoderPreset:
    """Return the build behind a preset name or a timm architecture name ("resnet18", "convnext_tiny.fb_in1k").

    Raises:
        UnknownEncoderError: no such preset, timm network or tag; the message suggests near names.
    """
    if name in PRESETS:
        return PRESETS[name]
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(name, [*PRESETS, *timm.list_models()], n=3)
        hint = f"Did you mean {', '.join(near)}?" if near else "`timm.list_models()` lists the names."
        raise UnknownEncoderError(
            f"encoder = {name!r}: expected a preset ({', '.join(PRESETS)}) or the name of a timm network. {hint}"
        )
    if tag and name not in (tagged := timm.list_pretrained(f"{architecture}.*")):
        raise UnknownEncoderError(
            f"encoder = {name!r}: timm knows {architecture!r}, but publishes no weights {tag!r} for it. "
            f"Known: {', '.join(tagged) or 'none'}; or give the name without a tag."
        )
    return EncoderPreset(name)


def timm_options(preset: EncoderPreset, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return the keyword arguments for `timm.create_model` that let the network take images of this size.

    Networks whose attention or position tables need the size get it as `img_size`. Plain Swin would shrink its
    windows, and with them its position tables, when a feature map is smaller than a window; partitioning always keeps
    the parameter shapes the same for every image size, so clients with different images can share one encoder (this
    is also what the reference implementation does: it pads to full windows).
    """
    options = dict(preset.options)
    config = timm.get_pretrained_cfg(preset.timm_name, allow_unregistered=False)
    if config is not None and config.fixed_input_size:
        options["img_size"] = image_size
    if preset.timm_name.startswith("swin_"):
        options |= {"always_partition": True, "strict_img_size": False}
    return options


def build_encoder(name: str, image_size: tuple[int, int]) -> Encoder:
    """Build an encoder without pretrained weights, initialised from torch's current random state.

    Args:
        name: a preset or a timm architecture.
        image_size: (height, width) in pixels.

    Raises:
        UnknownEncoderError: the name is unknown, or the network offers no feature maps.
        ValueError: the network cannot take images of this size.
    """
    preset = resolve_encoder(name)
    options = timm_options(preset, image_size)
    try:
        backbone = timm.create_model(preset.timm_name, pretrained=False, features_only=True, **options)
    except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
        raise UnknownEncoderError(
            f"encoder = {name!r}: timm cannot build this network with feature maps for images of "
            f"{image_size[0]}x{image_size[1]} ({error}). Choose one that supports `features_only`, such as resnet18."
        ) from error
    problem = _size_problem(name, image_size, image_size)
    if problem:
        raise ValueError(
            f"image_size = {image_size[0]}x{image_size[1]} does not fit encoder {name!r} ({problem}). "
            "Use a height and a width that are multiples of 32, or the size the network was published for."
        )
    if preset.pads_first:
        for module in backbone.modules():
            if isinstance(module, SwinTransformerBlock):
                module.__class__ = PadsFirst
    return Encoder(backbone, output_norms=preset.output_norms)


def require_other_size(name: str, image_size: tuple[int, int], scored_size: tuple[int, int]) -> None:
    """Refuse an encoder that cannot be scored on images of another size than it is trained on.

    Raises:
        ValueError: it can take images of `image_size` only.
    """
    problem = _size_problem(name, image_size, scored_size)
    if problem:
        raise ValueError(
            f"encoder = {name!r}, built for image-size = [{image_size[0]}, {image_size[1]}], cannot take the "
            f"validation images, which fit: pad leaves at {scored_size[0]}x{scored_size[1]} ({problem}). Give an "
            "image-size that holds every image, use fit: inside or fit: resize, or choose an encoder that takes every "
            "size, such as resnet18."
        )


@lru_cache(maxsize=64)
def _size_problem(name: str, image_size: tuple[int, int], given: tuple[int, int]) -> str:
    """Why a network built for images of one size cannot take those of another (or the same), empty if it can.

    Shapes alone (no numbers) run through it, so that a size it cannot take fails early and clearly. A simulation
    builds the same network for every client, and this takes several times as long as building it.
    """
    preset = resolve_encoder(name)
    with torch.device("meta"):
        options = timm_options(preset, image_size)
        network = timm.create_model(preset.timm_name, pretrained=False, features_only=True, **options).eval()
        try:
            with torch.no_grad():
                network(torch.empty(1, 3, *given))
        except (AssertionError, RuntimeError) as error:
            return str(error)
    return ""
