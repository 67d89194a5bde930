"""Sizes, names and equal starts of a client's model."""

from collections.abc import Mapping

import pytest
import torch
from errors import naming
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from client_app.model.dense import FCNDecoder, UpsamplingHead, dense_modules
from client_app.model.encoder import Encoder, UnknownEncoderError, build_encoder, require_other_size
from client_app.model.multi_task_model import MultiTaskModel, TaskModules, build_model

MODULES = {task: dense_modules(channels) for task, channels in {"semseg": 13, "depth": 1, "normals": 3}.items()}
SWIN_CHANNELS = (96, 192, 384, 768)


def _model(
    *tasks: str, encoder: str = "mobilenetv2_100", modules: Mapping[str, TaskModules] = MODULES, seed: int = 5
) -> MultiTaskModel:
    chosen = {task: modules[task] for task in tasks or ("semseg", "depth")}
    return build_model(encoder, chosen, (64, 96), decoder_width=16, seed=seed)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(scope="module")
def swin() -> Encoder:
    # At 64x64 the three deeper maps are smaller than a window, where timm alone would shrink the position tables.
    return build_encoder("swin-t-fedhca2", (64, 64)).eval()


def test_swin_preset_has_the_published_size_also_for_small_images(swin: Encoder) -> None:
    assert _count(swin) == 27_520_698
    assert swin.channels == SWIN_CHANNELS
    assert sum(_count(norm) for norm in swin.norms or []) == 2_880


def test_swin_output_norms_normalise_over_channels(swin: Encoder) -> None:
    with torch.no_grad():
        features = swin(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    for feature in features:
        zeros = torch.zeros_like(feature[:, 0])
        torch.testing.assert_close(feature.mean(dim=1), zeros, atol=1e-4, rtol=0)
        torch.testing.assert_close(feature.var(dim=1, correction=0), zeros + 1, atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_feature_maps_are_the_deepest_four_with_the_announced_shapes(name: str) -> None:
    encoder = build_encoder(name, (64, 96)).eval()
    with torch.no_grad():
        features = encoder(torch.zeros(1, 3, 64, 96))
    assert encoder.strides == (4, 8, 16, 32)
    expected = [(1, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)]
    assert [tuple(f.shape) for f in features] == expected


def test_decoder_has_the_published_size_and_layer_names() -> None:
    decoder = FCNDecoder(SWIN_CHANNELS, 96)
    assert _count(decoder) == 175_776
    layers = {name.rsplit(".", 1)[0] for name, _ in decoder.named_parameters()}
    assert layers == {*(f"linears.{level}" for level in range(4)), "linear_fuse.0", "linear_fuse.1"}
    sizes = {name: p.numel() for name, p in decoder.named_parameters() if name.endswith("weight")}
    assert list(sizes.values()) == [9_216, 18_432, 36_864, 73_728, 36_864, 96]


def test_decoder_projection_is_a_linear_layer_at_every_pixel() -> None:
    decoder = FCNDecoder((5, 7), 4).eval()
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(2, 5, 8, 6, generator=generator), torch.randn(2, 7, 4, 3, generator=generator)]
    projected = [
        linear(f.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for linear, f in zip(decoder.linears, features, strict=True)
    ]
    resized = nn.functional.interpolate(projected[1], size=(8, 6), mode="bilinear", align_corners=False)
    expected = decoder.linear_fuse(torch.cat([projected[0], resized], dim=1))
    torch.testing.assert_close(decoder(features), expected)


@pytest.mark.parametrize(
    ("channels", "size"), [(21, 23_637), (7, 23_287), (3, 23_187), (2, 23_162), (1, 23_137), (40, 24_112)]
)
def test_head_has_the_published_size(channels: int, size: int) -> None:
    assert _count(UpsamplingHead(96, channels)) == size


def test_model_predicts_every_task_at_image_resolution() -> None:
    model = _model()
    predictions = model.eval()(torch.zeros(2, 3, 70, 90))
    assert {task: tuple(p.shape) for task, p in predictions.items()} == {
        "semseg": (2, 13, 70, 90),
        "depth": (2, 1, 70, 90),
    }


def test_every_array_name_carries_its_group() -> None:
    names = _model().state_dict()
    prefixes = ("encoder.", "decoders.semseg.", "decoders.depth.", "heads.semseg.", "heads.depth.")
    for prefix in prefixes:
        assert any(name.startswith(prefix) for name in names)
    assert all(name.startswith(prefixes) for name in names)


def test_same_parts_start_equal_on_clients_with_different_tasks() -> None:
    first = _model("semseg", "depth")
    second = _model("normals", "depth")
    assert _equal(first.encoder.state_dict(), second.encoder.state_dict())
    assert _equal(first.decoders["depth"].state_dict(), second.decoders["depth"].state_dict())
    assert _equal(first.heads["depth"].state_dict(), second.heads["depth"].state_dict())


def test_decoder_start_does_not_depend_on_the_class_count_of_its_head() -> None:
    first = _model("semseg")
    second = _model("semseg", modules={"semseg": dense_modules(40)})
    assert _equal(first.decoders["semseg"].state_dict(), second.decoders["semseg"].state_dict())


def test_tasks_and_seeds_start_differently() -> None:
    model, other = _model(), _model(seed=6)
    weight = "linears.0.weight"
    semseg = model.decoders["semseg"].state_dict()[weight]
    assert not torch.equal(semseg, model.decoders["depth"].state_dict()[weight])
    assert not torch.equal(semseg, other.decoders["semseg"].state_dict()[weight])
    stem = "backbone.conv_stem.weight"
    assert not torch.equal(model.encoder.state_dict()[stem], other.encoder.state_dict()[stem])


def test_building_leaves_the_global_random_state_and_is_not_moved_by_it() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        before = torch.random.get_rng_state()
        first = _model()
        assert torch.equal(before, torch.random.get_rng_state())
        torch.default_generator.manual_seed(2)
        assert _equal(first.state_dict(), _model().state_dict())


def test_encoder_batch_norm_stays_in_evaluation_mode_while_decoders_train() -> None:
    model = _model()
    assert all(m.training for m in model.encoder.modules())
    model.encoder.freeze_batch_norm_statistics()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    model.train()
    model(torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    after = model.state_dict()
    buffers = dict(model.named_buffers())
    changed = {name for name in buffers if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("decoders.") for name in changed)
    frozen = [m for m in model.encoder.modules() if isinstance(m, _BatchNorm)]
    assert frozen
    assert not any(m.training for m in frozen)
    assert model.encoder.training


def test_another_decoder_fits_beside_the_dense_ones() -> None:
    class DeepestMap(nn.Module):
        def forward(self, features: list[Tensor]) -> Tensor:
            return features[-1]

    class Pooled(nn.Module):
        def forward(self, decoded: Tensor, image_size: tuple[int, int]) -> Tensor:
            return decoded.mean(dim=(2, 3))

    plain = _model("depth")
    model = MultiTaskModel(
        plain.encoder,
        {"depth": plain.decoders["depth"], "instance": DeepestMap()},
        {"depth": plain.heads["depth"], "instance": Pooled()},
    )
    assert dict(plain.named_parameters()).keys() == dict(model.named_parameters()).keys()
    assert model.eval()(torch.zeros(1, 3, 64, 96))["instance"].shape == (1, 320)


def test_unknown_encoder_suggests_near_names() -> None:
    with pytest.raises(UnknownEncoderError, match=r"'resnet81'.*swin-t-fedhca2.*resnet18"):
        build_encoder("resnet81", (64, 64))


def test_unknown_weights_tag_lists_the_published_ones() -> None:
    with pytest.raises(UnknownEncoderError, match=naming("nonsense", "resnet18.a1_in1k")):
        build_encoder("resnet18.nonsense", (64, 64))


@pytest.mark.parametrize("name", ["levit_128s", "vit_tiny_patch16_224"])
def test_encoders_with_other_levels_serve_the_same_decoder(name: str) -> None:
    model = _model("depth", encoder=name).eval()
    assert len(model.encoder.channels) == 3
    assert model(torch.zeros(1, 3, 64, 96))["depth"].shape == (1, 1, 64, 96)


def test_image_size_the_encoder_cannot_take_is_refused_when_built() -> None:
    with pytest.raises(ValueError, match=naming("image_size", "96x128", "encoder", "convit_tiny")):
        build_encoder("convit_tiny", (96, 128))


def test_encoder_that_cannot_be_scored_at_another_size_is_refused_with_the_settings() -> None:
    require_other_size("swin-t-fedhca2", (64, 96), (96, 128))
    require_other_size("resnet18", (64, 96), (96, 128))
    with pytest.raises(ValueError, match=naming("encoder", "image-size", "[64, 96]", "96x128")):
        require_other_size("vit_tiny_patch16_224", (64, 96), (96, 128))


@pytest.mark.parametrize("width", [0, 10])
def test_decoder_width_that_the_head_cannot_halve_twice_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=naming("decoder_width", width)):
        UpsamplingHead(width, 1)
