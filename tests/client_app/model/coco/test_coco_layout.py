"""Names, shapes, sizes and starts of the COCO tasks' parts, and which encoders they go with."""

import pytest
import torch
from errors import naming
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from client_app.model.coco.panoptic import PanopticHead, PanopticSettings
from client_app.model.coco.pyramid import FeaturePyramid, map_strides
from client_app.model.coco.semantic import SemanticHead, group_count
from client_app.model.encoder import build_encoder
from client_app.model.multi_task_model import MultiTaskModel
from client_app.tasks.registry import get_task
from client_app.training.vectors import buffer_layouts, group_layouts
from tests.support import coco_models as coco

RESNET50 = (256, 512, 1024, 2048)
LEVELS = ("0", "1", "2", "3", "pool")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _head(task: str, width: int, **num_classes: int) -> nn.Module:
    return get_task(task).modules(num_classes).head(width)


def test_encoder_is_the_same_module_with_the_same_start_for_dense_and_coco_clients() -> None:
    dense = coco.model(("semseg",)).encoder.state_dict()
    other = coco.model(("keypoints",)).encoder.state_dict()
    assert list(dense) == list(other)
    assert all(torch.equal(dense[name], other[name]) for name in dense)


def test_encoder_layouts_of_dense_and_coco_clients_can_be_pooled() -> None:
    dense, keypoints = coco.model(("semseg",)), coco.model(("keypoints",), width=16)
    assert group_layouts(dense)["encoder"] == group_layouts(keypoints)["encoder"]
    assert buffer_layouts(dense)["buffers.encoder"] == buffer_layouts(keypoints)["buffers.encoder"]


def test_decoders_of_all_coco_tasks_have_one_layout_and_starts_of_their_own() -> None:
    model = coco.model(coco.COCO_TASKS)
    layouts = group_layouts(model)
    assert len({layouts[f"decoders.{task}"].signature for task in coco.COCO_TASKS}) == 1
    starts = [model.decoders[task].state_dict()["pyramid.inner_blocks.0.0.weight"] for task in coco.COCO_TASKS]
    assert not torch.equal(starts[0], starts[1])


@pytest.mark.parametrize("task", coco.COCO_TASKS)
def test_heads_of_one_task_have_one_layout_and_start_whatever_the_encoder(task: str) -> None:
    first = coco.model((task,)).heads[task].state_dict()
    second = coco.model((task,), encoder="vit_tiny_patch16_224").heads[task].state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_decoders_and_heads_have_no_buffers_and_no_batch_norm() -> None:
    model = coco.model(coco.COCO_TASKS)
    assert all(name.startswith("encoder.") for name, _ in model.named_buffers())
    parts = [*model.decoders.modules(), *model.heads.modules()]
    assert not any(isinstance(part, _BatchNorm) for part in parts)


def test_decoder_has_the_published_size() -> None:
    # 1x1 to 256 channels for each level and a 3x3 convolution on each, with biases.
    assert _count(FeaturePyramid(RESNET50, 256)) == sum(c * 256 + 256 for c in RESNET50) + 4 * (256 * 256 * 9 + 256)


def test_heads_have_the_sizes_of_the_published_networks() -> None:
    # torchvision publishes 44 401 393 parameters for Mask R-CNN and 59 137 258 for Keypoint R-CNN on ResNet-50-FPN, of
    # which 23 454 912 lie in the trunk with its frozen batch norms left out, and the pyramid is counted above.
    pyramid, trunk = _count(FeaturePyramid(RESNET50, 256)), 23_454_912
    assert _count(_head("instance", 256, instance=90)) == 44_401_393 - pyramid - trunk
    assert _count(_head("keypoints", 256)) == 59_137_258 - pyramid - trunk


def test_semantic_head_has_the_published_layers() -> None:
    head = SemanticHead(256, 54)
    first, inner, norms = 256 * 128 * 9, 128 * 128 * 9, 7 * 2 * 128
    assert _count(head) == 4 * first + 3 * inner + norms + 128 * 54 + 54
    groups = {module.num_groups for module in head.modules() if isinstance(module, nn.GroupNorm)}
    assert groups == {32}


def test_group_norms_fit_every_width() -> None:
    for channels in range(2, 514, 2):
        groups = group_count(channels)
        assert channels % groups == 0
        assert groups <= 32
        assert channels // groups >= min(4, channels)


def test_panoptic_head_is_an_instance_head_and_a_semantic_one_with_one_class_for_all_things() -> None:
    head = PanopticHead(64, PanopticSettings(133, 80, 32.0))
    assert coco.shapes(head.detection) == coco.shapes(_head("instance", 64, instance=80))
    assert coco.shapes(head.semantic) == coco.shapes(_head("stuff", 64, stuff=54))


@pytest.mark.parametrize("name", ["mobilenetv2_035", "levit_128s", "vit_tiny_patch16_224", "swin-t-fedhca2"])
def test_pyramid_has_five_levels_for_every_encoder(name: str) -> None:
    encoder = build_encoder(name, (64, 96)).eval()
    with torch.no_grad():
        levels = FeaturePyramid(encoder.channels, 8).eval()(encoder(torch.zeros(1, 3, 64, 96)))
    assert tuple(levels) == LEVELS
    assert {level.shape[1] for level in levels.values()} == {8}
    sides = [level.shape[-1] for level in levels.values()]
    assert sides == sorted(sides, reverse=True)


def test_pyramid_without_a_map_or_with_five_is_refused() -> None:
    for channels in ((), (8,) * 5):
        with pytest.raises(ValueError, match=naming(len(channels), "maps")):
            FeaturePyramid(channels, 8)


@pytest.mark.parametrize("name", ["levit_128s", "vit_tiny_patch16_224", "resnet18"])
def test_every_kind_of_encoder_trains_and_finds(name: str) -> None:
    model = coco.model(coco.COCO_TASKS, encoder=name, size=(64, 64))
    assert _trained_groups(model) == set(group_layouts(model))
    with torch.no_grad():
        predictions = model.eval()(coco.images())
    assert len(predictions["instance"].detections()) == 2
    assert len(predictions["panoptic"].segments()) == 2


def _trained_groups(model: MultiTaskModel) -> set[str]:
    predictions = model.train()(coco.images())
    objects = [coco.instances([(4, 4, 30, 40)]), coco.instances([])]
    whole = coco.segments(torch.ones(64, 64), {1: 5})
    losses = {
        **{f"i {name}": loss for name, loss in predictions["instance"].losses(objects).items()},
        **{f"k {name}": loss for name, loss in predictions["keypoints"].losses(objects).items()},
        **{f"p {name}": loss for name, loss in predictions["panoptic"].losses([whole, whole]).items()},
        "stuff": predictions["stuff"].square().mean(),
    }
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    found = {name for name, p in model.named_parameters() if p.grad is not None and bool(torch.isfinite(p.grad).all())}
    return {group for group in group_layouts(model) if any(name.startswith(group + ".") for name in found)}


@pytest.mark.parametrize(
    ("cells", "image", "stride"),
    [
        ((56, 72), (224, 288), 4.0),
        ((7, 9), (224, 288), 32.0),
        ((23, 32), (90, 127), 4.0),  # rounded up
        ((22, 31), (90, 127), 4.0),  # rounded down
        ((3, 4), (90, 127), 32.0),
        ((16, 20), (224, 280), 14.0),  # patches of 14 pixels
    ],
)
def test_strides_are_read_from_sizes(cells: tuple[int, int], image: tuple[int, int], stride: float) -> None:
    assert map_strides([torch.zeros(1, 1, *cells)], image) == [stride]


def test_semantic_head_adds_what_every_level_says() -> None:
    head = SemanticHead(8, 3).eval()
    levels = {name: torch.randn(1, 8, 16 >> index, 16 >> index) for index, name in enumerate(LEVELS)}

    def changed(name: str) -> Tensor:
        other = levels | {name: torch.randn_like(levels[name])}
        return (head(other, (64, 64)) - head(levels, (64, 64))).abs().max()

    with torch.no_grad():
        assert head(levels, (64, 64)).shape == (1, 3, 64, 64)
        assert all(float(changed(name)) > 0 for name in LEVELS[:4])
        assert float(changed("pool")) == 0.0
