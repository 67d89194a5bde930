"""A site's record of what it has sent, on a disk that is full and has space again."""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, RecordDict

from client_app.site.sent import SENT_VARIABLE, note_answer, note_error

ROOT = Path(__file__).parents[3]
FULL_DISK = """
import os, resource, sys
from flwr.app import ConfigRecord, RecordDict
from client_app.site.sent import SENT_VARIABLE, note_answer
answer = RecordDict({"message": ConfigRecord({"json": '{"round": 2}'})})
room = os.path.getsize(os.environ[SENT_VARIABLE]) + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
try:
    note_answer("train", 17, answer)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
note_answer("train", 17, answer)
"""


def _answer(number: int, text: str = "") -> RecordDict:
    return RecordDict({"message": ConfigRecord({"json": json.dumps({"round": number, "text": text})})})


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "sent.jsonl"
    monkeypatch.setenv(SENT_VARIABLE, str(place))
    return place


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="files cannot be limited in size here")
@pytest.mark.parametrize("bytes_left", [0, 1, 30])
def test_a_disk_that_fills_up_leaves_no_part_of_a_line(record: Path, bytes_left: int) -> None:
    note_answer("train", 17, _answer(1))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(bytes_left)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"nothing was sent, because it could not be written down in {record}" in done.stdout
    rounds = [json.loads(json.loads(line)["texts"]["message"]["json"])["round"] for line in record.open()]
    assert rounds == [1, 2]


def test_a_line_that_a_killed_process_left_unfinished_swallows_no_other(record: Path) -> None:
    record.write_text('{"time": 17')
    note_answer("train", 17, _answer(1))
    note_error("train", 17, ValueError("x"))
    first, second, third = record.read_text().splitlines()
    assert first == '{"time": 17'
    assert json.loads(second)["kind"] == json.loads(third)["kind"] == "train"


def _note_many(number: int) -> None:
    for _ in range(50):
        note_answer("train", number, _answer(number, "x" * 20_000))


def test_answers_of_several_processes_at_once_do_not_mix(record: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_note_many, args=(number,)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(json.loads(line)["run"] for line in record.open()) == ["0"] * 50 + ["1"] * 50
