"""Pretrained weights: every key accounted for, and errors that say what to do."""

from pathlib import Path

import pytest
import timm
import torch
from errors import naming
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor

from client_app.model import weights
from client_app.model.encoder import Encoder, build_encoder
from client_app.model.weights import WeightsError, load_encoder_weights

NAME = "resnet10t"
SIZE = (64, 64)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Arrays as timm publishes them for the whole classification network."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return {key: value.clone() for key, value in timm.create_model(NAME).state_dict().items()}


@pytest.fixture
def encoder() -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        return build_encoder(NAME, SIZE)


def _zeros(name: str) -> dict[str, Tensor]:
    """Return arrays with the names and shapes of a whole network, without the time to initialise it."""
    with torch.device("meta"):
        return {
            key: torch.zeros(value.shape, device="cpu") for key, value in timm.create_model(name).state_dict().items()
        }


def _save(arrays: dict[str, Tensor], folder: Path) -> Path:
    path = folder / "weights.safetensors"
    save_file(arrays, path)
    return path


def test_complete_file_is_loaded_and_accounted_for(
    published: dict[str, Tensor], encoder: Encoder, tmp_path: Path
) -> None:
    report = load_encoder_weights(encoder, NAME, _save(published, tmp_path))
    state = encoder.state_dict()
    assert report.matched == len(state) == len(published) - 2
    assert report.source == "weights.safetensors"
    assert str(tmp_path) not in report.summary()
    assert report.sha256 in report.summary()
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert sorted(report.ignored_by_design) == ["fc.bias", "fc.weight"]
    for key in ("conv1.0.weight", "layer4.0.bn2.running_var"):
        found = [name for name in state if name.replace("_", ".") == f"backbone.{key}".replace("_", ".")]
        assert len(found) == 1
        assert torch.equal(state[found[0]], published[key])


def test_loaded_encoder_computes_what_the_published_network_computes(
    published: dict[str, Tensor], encoder: Encoder, tmp_path: Path
) -> None:
    load_encoder_weights(encoder, NAME, _save(published, tmp_path))
    with torch.device("meta"):
        network = timm.create_model(NAME)
    network.load_state_dict(published, assign=True)
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(image)[-1], network.eval().forward_features(image))


def test_hash_follows_the_values_used_and_only_them(
    published: dict[str, Tensor], encoder: Encoder, tmp_path: Path
) -> None:
    first = load_encoder_weights(encoder, NAME, _save(published, tmp_path)).sha256
    unused = published | {"fc.bias": published["fc.bias"] + 1}
    used = published | {"bn1.bias": published["bn1.bias"] + 1}
    assert len(first) == 64
    assert load_encoder_weights(encoder, NAME, _save(unused, tmp_path)).sha256 == first
    assert load_encoder_weights(encoder, NAME, _save(used, tmp_path)).sha256 != first


def _damaged(published: dict[str, Tensor]) -> dict[str, Tensor]:
    arrays = {key: value for key, value in published.items() if key != "bn1.bias"}
    return arrays | {"stray.weight": torch.zeros(2), "bn1.weight": torch.zeros(3)}


def test_unmatched_keys_are_an_error_that_names_them_and_changes_nothing(
    published: dict[str, Tensor], encoder: Encoder, tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    unmatched = naming("missing: backbone.bn1.bias", "unexpected: stray.weight", "another shape: backbone.bn1.weight")
    with pytest.raises(WeightsError, match=unmatched):
        load_encoder_weights(encoder, NAME, _save(_damaged(published), tmp_path))
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_unmatched_keys_are_reported_when_allowed(
    published: dict[str, Tensor], encoder: Encoder, tmp_path: Path
) -> None:
    before = encoder.state_dict()["backbone.bn1.bias"].clone()
    report = load_encoder_weights(encoder, NAME, _save(_damaged(published), tmp_path), allow_unmatched=True)
    assert report.missing == ("backbone.bn1.bias",)
    assert report.unexpected == ("stray.weight",)
    assert report.mismatched == ("backbone.bn1.weight",)
    assert torch.equal(encoder.state_dict()["backbone.bn1.bias"], before)
    assert torch.equal(encoder.state_dict()["backbone.layer1.0.bn1.weight"], published["layer1.0.bn1.weight"])


def test_file_without_one_fitting_array_is_an_error_even_when_allowed(encoder: Encoder, tmp_path: Path) -> None:
    path = _save({"stray.weight": torch.zeros(2)}, tmp_path)
    with pytest.raises(WeightsError, match=naming("fits")):
        load_encoder_weights(encoder, NAME, path, allow_unmatched=True)


def test_absent_file_says_where_the_weights_are_published(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=naming("model.safetensors", "timm/resnet10t")):
        load_encoder_weights(encoder, NAME, tmp_path / "absent.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"\xff" * 64])
def test_damaged_file_is_a_clear_error(content: bytes, encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=naming("safetensors")):
        load_encoder_weights(encoder, NAME, path)


def test_non_finite_values_are_refused_by_name(published: dict[str, Tensor], encoder: Encoder, tmp_path: Path) -> None:
    broken = published | {"bn1.bias": torch.full_like(published["bn1.bias"], float("nan"))}
    with pytest.raises(WeightsError, match=naming("NaN", "bn1.bias")):
        load_encoder_weights(encoder, NAME, _save(broken, tmp_path))


def test_without_network_the_hub_error_names_file_and_setting(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(repository: str, file: str) -> str:
        raise LocalEntryNotFoundError(f"{repository}/{file}")

    monkeypatch.setattr(weights, "hf_hub_download", refuse)
    with pytest.raises(WeightsError, match=naming("model.safetensors", "timm/resnet10t", "encoder-weights")):
        load_encoder_weights(encoder, NAME, "hub")


def test_hub_file_goes_through_the_same_checks(
    published: dict[str, Tensor], encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(_save(published, tmp_path))

    monkeypatch.setattr(weights, "hf_hub_download", fetch)
    report = load_encoder_weights(encoder, NAME, "hub")
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors")]
    assert report.source == "hub timm/resnet10t.c3_in1k"
    assert report.matched == len(encoder.state_dict())


def test_swin_preset_takes_plain_swin_weights_and_keeps_its_own_norms(tmp_path: Path) -> None:
    whole = _zeros("swin_tiny_patch4_window7_224")
    encoder = build_encoder("swin-t-fedhca2", SIZE)
    report = load_encoder_weights(encoder, "swin-t-fedhca2", _save(whole, tmp_path))
    assert report.matched == 169
    assert report.initialised_by_design == tuple(f"norms.{i}.{kind}" for i in range(4) for kind in ("weight", "bias"))
    assert sorted(report.ignored_by_design) == ["head.fc.bias", "head.fc.weight", "norm.bias", "norm.weight"]


def test_transformer_position_table_is_resized_to_the_image(tmp_path: Path) -> None:
    whole = _zeros("vit_tiny_patch16_224")
    encoder = build_encoder("vit_tiny_patch16_224", SIZE)
    report = load_encoder_weights(encoder, "vit_tiny_patch16_224", _save(whole, tmp_path))
    assert report.mismatched == ()
    assert report.matched == len(encoder.state_dict())
