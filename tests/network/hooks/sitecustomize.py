"""Makes a site's client misbehave as a test says; on PYTHONPATH of the sites only.

The variable FMTL_TEST_PLANS names a folder. Before every message the client's process reads `<client>.json` there:
{"train": {"2": {"sleep": 5, "reply": "nan"}}}: by kind of message and round. With "hold" it waits for as long as its
plan says so. What it has been asked is appended to `<client>.calls`, a line for each.

FMTL_TEST_HEARTBEAT: seconds between the signs of life of the node, for which Flower has no setting. Those of its
apps stay as they are, for an app whose start takes longer than one is started again, and again.
FMTL_TEST_CLOCK: a file with the seconds by which the clock of the site is ahead, none where it is not there; read at
every look at the clock. FMTL_TEST_REPLAY: before every reply the node posts the one before again, with the same
signature, and appends a line to this file: which reply it was, and what the link answered. FMTL_TEST_NO_HEARTBEATS:
while this file is there, the node's signs of life are answered as by a link whose disk is full. FMTL_TEST_LOSE_REPLIES:
so are its replies; the node drops a reply then. Each that is lost is a line in the file.
"""

import json
import os
import sys
import time
from datetime import timedelta
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path


class _Patching(Loader):
    def __init__(self, loader, patch):
        self._loader = loader
        self._patch = patch

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._patch(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = _Patching(spec.loader, PATCHES[name])
        return spec


def planned(file, kind, number):
    try:
        return json.loads(file.read_text()).get(kind, {}).get(number, {})
    except FileNotFoundError:
        return {}


def follow_plan(module):
    honest, plans = module.answer, Path(os.environ["FMTL_TEST_PLANS"])

    def answer(call, content):
        text = json.loads(content.config_records["message"]["json"])
        site = Path(call.node_config["site-file"]).parent.name
        number = str(text.get("round", 0))
        file = plans / f"{site}.json"
        step = planned(file, call.kind, number)
        with (plans / f"{site}.calls").open("a") as calls:
            calls.write(f"{call.kind} {number}\n")
        time.sleep(step.get("sleep", 0))
        while planned(file, call.kind, number).get("hold"):
            time.sleep(0.1)
        reply = honest(call, content)
        time.sleep(step.get("sleep-after", 0))
        if "reply" in step:
            from bad_replies import spoil

            spoil(reply, step["reply"])
        return reply

    module.answer = answer


def ahead():
    file = Path(os.environ["FMTL_TEST_CLOCK"])
    return timedelta(seconds=float(file.read_text()) if file.is_file() else 0)


def shift_clock(module):
    now = module.now
    module.now = lambda: now() + ahead()


def shift_own_clock(module):
    real = module.datetime

    class Shifted(real):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + ahead()

    module.datetime = Shifted


def described_replay(content, answer):
    from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse

    reply = PushMessagesRequest.FromString(content).messages_list[0].metadata
    asked_for = PushMessagesResponse.FromString(answer.content).objects_to_push if answer.is_success else []
    return {
        "kind": reply.message_type,
        "message": reply.message_id,
        "reply-to": reply.reply_to_message_id,
        "status": answer.status_code,
        "asked-for": list(asked_for),
    }


def post_again(module):
    send, earlier = module.Client.send, []

    def send_with_the_one_before(self, request, **options):
        if request.url.path.endswith("push-messages"):
            for method, url, headers, content in earlier:
                again = send(self, module.Request(method, url, headers=headers, content=content))
                with open(os.environ["FMTL_TEST_REPLAY"], "a") as file:
                    file.write(json.dumps(described_replay(content, again)) + "\n")
            earlier[:] = [(request.method, request.url, dict(request.headers), request.content)]
        return send(self, request, **options)

    module.Client.send = send_with_the_one_before


def refuse_heartbeats(module):
    send = module.Client.send

    def send_or_refuse(self, request, **options):
        if request.url.path.endswith("send-node-heartbeat") and Path(os.environ["FMTL_TEST_NO_HEARTBEATS"]).is_file():
            return module.Response(500, request=request)
        return send(self, request, **options)

    module.Client.send = send_or_refuse


def lose_replies(module):
    send, file = module.Client.send, Path(os.environ["FMTL_TEST_LOSE_REPLIES"])

    def send_or_lose(self, request, **options):
        if request.url.path.endswith("push-messages") and file.is_file():
            with file.open("a") as lines:
                lines.write("lost\n")
            return module.Response(500, request=request)
        return send(self, request, **options)

    module.Client.send = send_or_lose


def set_heartbeat(module):
    module.HEARTBEAT_DEFAULT_INTERVAL = int(os.environ["FMTL_TEST_HEARTBEAT"])


PATCHES = {}
if "FMTL_TEST_PLANS" in os.environ and "client_app.site.resident.serving" in sys.orig_argv:
    PATCHES["client_app.round.handlers"] = follow_plan
if any(argument.endswith("flower-supernode") for argument in sys.orig_argv):
    if "FMTL_TEST_HEARTBEAT" in os.environ:
        PATCHES["flwr.supercore.heartbeat"] = PATCHES["flwr.supernode.fleet_http_connection"] = set_heartbeat
    if "FMTL_TEST_CLOCK" in os.environ:
        PATCHES["flwr.supercore.date"] = shift_clock
    if "FMTL_TEST_REPLAY" in os.environ:
        PATCHES["httpx"] = post_again
    elif "FMTL_TEST_NO_HEARTBEATS" in os.environ:
        PATCHES["httpx"] = refuse_heartbeats
    elif "FMTL_TEST_LOSE_REPLIES" in os.environ:
        PATCHES["httpx"] = lose_replies
if "FMTL_TEST_CLOCK" in os.environ:
    PATCHES["fmtl.network.site_checks"] = shift_own_clock
if PATCHES:
    sys.meta_path.insert(0, _Finder())
