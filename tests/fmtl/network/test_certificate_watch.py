"""A coordinator that runs takes a renewed certificate, and says in time that one ends."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fmtl.network.certificates import CertificateFiles, CertificateWatch, make_ca, make_server_certificate


class _Clock:
    def __init__(self) -> None:
        self.days = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    found = CertificateFiles(tmp_path / "federation/certificates")
    make_ca(found, "test")
    make_server_certificate(found, ["localhost"], days=40)
    return found


@pytest.fixture
def watch(files: CertificateFiles, said: list[str], clock: _Clock) -> CertificateWatch:
    return CertificateWatch(files, said.append, clock)


def test_nothing_is_said_of_certificates_that_last(watch: CertificateWatch, said: list[str], clock: _Clock) -> None:
    for clock.days in range(9):
        watch.warn()
        assert not watch.renewed()
    assert said == []


def test_a_renewed_certificate_is_taken_once(watch: CertificateWatch, files: CertificateFiles, said: list[str]) -> None:
    make_server_certificate(files, ["localhost"])
    assert [watch.renewed() for _ in range(4)] == [False, True, False, False]
    assert len(said) == 1
    assert "starts again" in said[0]


def test_half_a_pair_is_not_taken_until_the_other_half_is_there(
    watch: CertificateWatch, files: CertificateFiles, said: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.crt"
    shutil.copyfile(files.server, kept)
    make_server_certificate(files, ["localhost"])
    new = files.server.read_bytes()
    files.server.write_bytes(kept.read_bytes())
    assert [watch.renewed() for _ in range(4)] == [False] * 4
    assert len(said) == 1
    assert "key" in said[0]
    files.server.write_bytes(new)
    assert [watch.renewed() for _ in range(3)] == [False, True, False]


def test_a_missing_file_is_no_renewal(watch: CertificateWatch, files: CertificateFiles) -> None:
    files.server.rename(files.server.with_suffix(".away"))
    assert [watch.renewed() for _ in range(3)] == [False] * 3
    files.server.with_suffix(".away").rename(files.server)
    assert [watch.renewed() for _ in range(3)] == [False] * 3


def test_the_end_is_announced_daily_and_its_arrival_at_once(
    watch: CertificateWatch, files: CertificateFiles, said: list[str], clock: _Clock
) -> None:
    for clock.days in (11, 11.1, 11.9, 12.1):
        watch.warn()
    assert [line.startswith("Warning: ") and "ends" in line for line in said] == [True, True]
    said.clear()
    for clock.days in (40.1, 40.2, 41.2):
        watch.warn()
    assert len(said) == 2
    assert all("connect" in line and "fmtl keys renew" in line for line in said)
    said.clear()
    make_server_certificate(files, ["localhost"], days=60)
    assert [watch.renewed() for _ in range(2)] == [False, True]
    watch.warn()
    assert [line for line in said if "Error" in line] == []
