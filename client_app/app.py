"""The Flower app of one client. It only passes messages on, so that a process of it starts fast.

On a site Flower starts a process for every message, and loading torch and the data set anew each time would take
longer than many a round of training. There a resident process does the work (`client_app.site.resident`); in a
simulation, whose processes live on, it is done in place.
"""

import os
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client_app.call import Call, Kind
from client_app.site.sent import note_answer, note_error

RESIDENT_VARIABLE = "FMTL_RESIDENT"
"""Environment variable: the private folder of a site's resident process. Unset: messages are answered in place."""

app = ClientApp()


@app.query()
def describe(message: Message, context: Context) -> Message:
    """Answer who this client is."""
    return _answer("describe", message, context)


@app.query("initial")
def send_initial(message: Message, context: Context) -> Message:
    """Send starting parameters."""
    return _answer("initial", message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train a round."""
    return _answer("train", message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score a personal model."""
    return _answer("evaluate", message, context)


def _answer(kind: Kind, message: Message, context: Context) -> Message:
    call = Call(kind, context.node_config, context.run_config, context.run_id)
    try:
        content = _content(call, message.content)
        note_answer(kind, call.run_id, content)
    except Exception as error:
        note_error(kind, call.run_id, error)
        raise
    return Message(content, reply_to=message)


def _content(call: Call, content: RecordDict) -> RecordDict:
    place = os.environ.get(RESIDENT_VARIABLE)
    if place:
        from client_app.site.resident.asking import ask

        return ask(Path(place), call, content)
    from client_app.round.handlers import answer

    return answer(call, content)
