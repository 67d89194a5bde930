"""Asking a site's resident process, and starting it where there is none."""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection
from pathlib import Path

from flwr.app import RecordDict

from client_app.call import Call
from client_app.site.resident.frames import FrameError, receive, send

LOG_VARIABLE = "FMTL_RESIDENT_LOG"
"""Environment variable: file that gets what the resident process prints."""

PROCESS_ENDED = "the client's process ended while it worked on this message"
"""The same as in `fmtl_strategies.contract.messages`, which this process is too short-lived to import."""

START_SECONDS = 300.0
_CODE = Path(__file__).parents[3]
"""Folder that this code was imported from: the app that a run has brought, not what is installed beside it."""


class ClientFailedError(RuntimeError):
    """The client could not answer; the text is its reason."""


def ask(place: Path, call: Call, content: RecordDict) -> RecordDict:
    """Let the resident process answer a message.

    Args:
        place: private folder of the site's resident process.
        call: what is asked.
        content: body of the message.

    Returns:
        Body of the reply.

    Raises:
        ClientFailedError: it answered with an error, ended while it worked, or does not start.
    """
    with connected(place) as connection:
        header = call._replace(node_config=dict(call.node_config), run_config=dict(call.run_config))._asdict()
        try:
            send(connection, header, content)
            answer, reply = receive(connection)
        except (FrameError, OSError) as error:
            raise ClientFailedError(f"{PROCESS_ENDED} ({error})") from error
    if answer.get("error"):
        raise ClientFailedError(str(answer["error"]))
    return reply


def socket_path(place: Path, code: Path = _CODE) -> Path:
    """Return where the process that runs a folder's code listens: a run may bring newer code than the one before."""
    return place / f"{hashlib.sha256(os.fsencode(code)).hexdigest()[:16]}.sock"


@contextmanager
def connected(place: Path) -> Iterator[Connection]:
    """Connect to the resident process, started first where there is none.

    Raises:
        ClientFailedError: it does not start.
    """
    path = socket_path(place)
    with place.joinpath("lock").open("a") as lock:
        # Two runs may send messages at the same moment; one of them starts the process.
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _connect(path)
        if connection is None:
            for other in place.glob("*.sock"):
                _dismiss(other)
            connection = _start(path)
    with connection:
        yield connection


def _connect(path: Path) -> Connection | None:
    try:
        return Client(str(path), "AF_UNIX")
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def _start(path: Path) -> Connection:
    log = Path(os.environ.get(LOG_VARIABLE) or path.with_suffix(".log"))
    command = [sys.executable, "-P", "-m", "client_app.site.resident.serving", str(path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(_CODE), os.environ.get("PYTHONPATH")]))}
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        connection = _connect(path)
        if connection is not None:
            return connection
        if process.poll() is not None:
            raise ClientFailedError(
                f"the client's process ended at its start with status {process.returncode}; see the site's training.log"
            )
        time.sleep(0.05)
    process.kill()
    raise ClientFailedError(f"the client's process did not start within {START_SECONDS:.0f} seconds")


def _dismiss(path: Path) -> None:
    """End a process that runs other code: it holds memory, of a GPU too, that its successor needs."""
    connection = _connect(path)
    if connection is not None:
        with connection:
            send(connection, {"kind": "quit"})
            connection.poll(None)  # It answers when it is done with what it works on, by closing.
    path.unlink(missing_ok=True)
