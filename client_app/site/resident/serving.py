"""The resident process: ``python -m client_app.site.resident.serving SOCKET``; one message after another."""

import logging
import os
import socket
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from client_app.call import Call
from client_app.site.resident.frames import FrameError, receive, send
from fmtl_strategies.flower_compat import log

IDLE_SECONDS = 3600.0
"""Without a message for so long the process ends, and gives its memory back; the next message starts another."""

_LONGEST_ERROR = 4000


def serve(path: Path, idle_seconds: float = IDLE_SECONDS) -> None:
    """Answer messages until there have been none for a while, or a successor asks to end.

    Args:
        path: of the Unix socket to listen on; its folder is private to this user.
        idle_seconds: how long to wait for a message.
    """
    # Loaded before anybody can connect: this is what takes long.
    import client_app.round.handlers  # noqa: F401

    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(16)
        listener.settimeout(idle_seconds)
        try:
            while True:
                try:
                    accepted, _ = listener.accept()
                except TimeoutError:
                    log(logging.INFO, "no message for %.0f s: the client's process ends", idle_seconds)
                    return
                accepted.setblocking(True)
                with Connection(accepted.detach()) as connection:
                    if not _serve_one(connection):
                        return
        finally:
            path.unlink(missing_ok=True)


def _serve_one(connection: Connection) -> bool:
    """Answer one message; False where it asked to end."""
    from client_app.round.handlers import answer

    try:
        header, content = receive(connection)
    except FrameError:
        return True
    if header["kind"] == "quit":
        return False
    if connection.poll():
        # Nothing but the end of the connection comes behind a message. It waited behind other work, and whoever asked
        # has died meanwhile: nobody would get the answer.
        log(logging.WARNING, "a message is left alone: whoever asked has died")
        return True
    try:
        reply = answer(Call(**header), content)
    except Exception as error:  # whatever it is, the coordinator has to hear of it, and the process goes on
        traceback.print_exc()
        header, reply = {"error": f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]}, None
    else:
        header = {}
    try:
        send(connection, header, reply)
    except OSError:
        # Whoever asked has died; what was trained is kept, and the same message gets the same answer again.
        log(logging.WARNING, "nobody waits for the answer any more")
    return True


if __name__ == "__main__":
    os.umask(0o077)
    serve(Path(sys.argv[1]))
