"""The Flower app that a coordinator sends to its sites, made of the installed packages: a wheel has no checkout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import tomli_w

from fmtl import __version__
from fmtl.settings import default_settings

PACKAGES = ("client_app", "fmtl_datasets", "fmtl_strategies", "server_app")
"""What runs on the server and on sites; they import each other and nothing else of this project."""


@contextmanager
def app_folder() -> Iterator[Path]:
    """Make a folder that `flwr run` takes for an app, and remove it at the end."""
    app = {
        "publisher": "fmtl",
        "components": {"serverapp": "server_app.app:app", "clientapp": "client_app.app:app"},
        "config": default_settings(),
    }
    description = {"project": {"name": "fmtl", "version": __version__}, "tool": {"flwr": {"app": app}}}
    with TemporaryDirectory(prefix="fmtl-app-") as name:
        folder = Path(name)
        (folder / "pyproject.toml").write_text(tomli_w.dumps(description), encoding="utf-8")
        for package in PACKAGES:
            source = import_module(package).__path__[0]
            shutil.copytree(source, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        yield folder
