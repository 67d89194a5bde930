import pytest
import torch
from timm.scheduler import CosineLRScheduler

from client_app.training.optimiser import rate_factor
from fmtl_strategies.contract.settings import LocalSettings

PEAK = 1e-4


def rates(total_epochs: int, **settings: object) -> list[float]:
    published = {"encoder_learning_rate": 1e-4, "decoder_learning_rate": 1e-4, "warmup_epochs": 5}
    chosen = LocalSettings(total_rounds=total_epochs, **{**published, **settings})
    return [PEAK * rate_factor(epoch, total_epochs, chosen) for epoch in range(total_epochs)]


@pytest.mark.parametrize("total", [12, 100, 400])
def test_every_epoch_agrees_with_timm_stepped_after_each_epoch(total: int) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    timm_schedule = CosineLRScheduler(
        optimiser, t_initial=total - 5, lr_min=1.25e-6, warmup_t=5, warmup_lr_init=1.25e-7, warmup_prefix=True
    )
    expected = []
    for epoch in range(total):
        expected.append(optimiser.param_groups[0]["lr"])
        timm_schedule.step(epoch)
    assert rates(total) == pytest.approx(expected, rel=1e-9)


def test_constant_schedule_stays_at_the_peak() -> None:
    assert rates(8, schedule="constant") == [PEAK] * 8
