"""Writes down when a site's node and Flower's process for each message do what; on PYTHONPATH of the site only.

The variable FMTL_BENCHMARK_STAMPS names the file that gets a JSON line for every message.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

STAMPS_VARIABLE = "FMTL_BENCHMARK_STAMPS"


def _write(line: dict[str, Any]) -> None:
    with open(os.environ[STAMPS_VARIABLE], "a") as file:
        file.write(json.dumps(line) + "\n")


def _born() -> float:
    """Time at which this process was started, to a hundredth of a second."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/uptime") as file:
        up = float(file.read().split()[0])
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


def _patch_process(module: Any) -> None:
    stamps: dict[str, Any] = {"event": "message", "born": _born()}

    def stamped(function: Callable[..., Any], before: str | None, after: str | None) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if before:
                stamps[before] = time.time()
            answer = function(*args, **kwargs)
            if after:
                stamps[after] = time.time()
            return answer

        return call

    module.pull_task_input = stamped(module.pull_task_input, "imported", "pulled")
    module.install_from_fab = stamped(module.install_from_fab, None, "installed")
    get_loader, push = module.get_load_client_app_fn, module.push_message

    def loader(**options: Any) -> Callable[..., Any]:
        load = get_loader(**options)

        def app_of(*args: Any) -> Callable[..., Any]:
            app = load(*args)

            def call(message: Any, context: Any) -> Any:
                metadata = message.metadata
                stamps.update(run=str(metadata.run_id), kind=metadata.message_type, round=metadata.group_id)
                return stamped(app, "called", "answered")(message=message, context=context)

            return call

        return app_of

    def push_message(*args: Any, **kwargs: Any) -> Any:
        answer = push(*args, **kwargs)
        _write({**stamps, "pushed": time.time()})
        return answer

    module.get_load_client_app_fn, module.push_message = loader, push_message


def _patch_node(module: Any) -> None:
    pull, push = module._pull_and_store_message, module._push_messages

    def pulled(**arguments: Any) -> Any:
        began = time.time()
        run = pull(**arguments)
        if run is not None:
            _write({"event": "fetched", "run": str(run), "began": began, "ended": time.time()})
        return run

    def pushed(**arguments: Any) -> None:
        push(**arguments)
        _write({"event": "sent", "ended": time.time()})

    module._pull_and_store_message, module._push_messages = pulled, pushed


_PATCHES: dict[str, Callable[[Any], None]] = {
    "flwr.supernode.runtime.run_clientapp": _patch_process,
    "flwr.supernode.start_client_internal": _patch_node,
}


class _Patching(Loader):
    def __init__(self, loader: Loader, patch: Callable[[Any], None]) -> None:
        self._loader, self._patch = loader, patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as its own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then patch it."""
        self._loader.exec_module(module)
        self._patch(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the modules that are to be patched, and no others."""
        if name not in _PATCHES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Patching(spec.loader, _PATCHES[name])
        return spec


_program = os.path.basename(sys.orig_argv[1] if len(sys.orig_argv) > 1 else "")
if STAMPS_VARIABLE in os.environ and _program in ("flwr-clientapp", "flower-supernode"):
    sys.meta_path.insert(0, _Finder())
