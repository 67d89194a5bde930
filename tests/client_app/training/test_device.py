import pytest
import torch
from errors import naming

from client_app.training.device import choose_arithmetic, explain_out_of_memory
from client_app.training.errors import DeviceError, DeviceMemoryError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return monkeypatch


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("gpus")
def test_auto_takes_the_first_gpu_and_bfloat16() -> None:
    chosen = choose_arithmetic("auto", "auto")
    assert (chosen.device, chosen.dtype) == (torch.device("cuda", 0), torch.bfloat16)
    assert choose_arithmetic("cuda:1", "float16").dtype is torch.float16
    assert choose_arithmetic("cpu", "auto").dtype is None


@pytest.mark.usefixtures("gpus")
def test_a_gpu_number_beyond_those_present_is_an_error() -> None:
    with pytest.raises(DeviceError, match=naming("cuda:2", "2 GPU")):
        choose_arithmetic("cuda:2", "auto")


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_float32_on_the_cpu_and_cuda_an_error() -> None:
    chosen = choose_arithmetic("auto", "auto")
    assert (chosen.device, chosen.dtype) == (torch.device("cpu"), None)
    with pytest.raises(DeviceError, match="client-resources-num-gpus"):
        choose_arithmetic("cuda", "auto")


@pytest.mark.usefixtures("no_gpu")
def test_float16_on_a_cpu_is_an_error() -> None:
    with pytest.raises(DeviceError, match="precision = 'float16' needs a GPU"):
        choose_arithmetic("cpu", "float16")


def test_memory_error_says_what_to_lower_and_other_errors_pass() -> None:
    device = torch.device("cpu")
    advice = naming("client a", "cpu", "batch-size 8", "image-size [64, 96]")
    with pytest.raises(DeviceMemoryError, match=advice), explain_out_of_memory("a", 8, (64, 96), device):
        raise torch.OutOfMemoryError
    for words in ("CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED"):
        with pytest.raises(DeviceMemoryError, match=advice), explain_out_of_memory("a", 8, (64, 96), device):
            raise RuntimeError(words)
    with pytest.raises(RuntimeError, match=naming("shapes")), explain_out_of_memory("a", 8, (64, 96), device):
        raise RuntimeError("shapes do not fit")
    with pytest.raises(KeyError), explain_out_of_memory("a", 8, (64, 96), device):
        raise KeyError
