"""A site's file to fill in: one for every kind of data set, with a word on every key."""

from __future__ import annotations

from fmtl_datasets.catalogue import DATA_SETS

from fmtl.network.errors import NetworkSetupError
from fmtl.network.site_keys import SITE_NAME

BLANK = "CHANGE-ME"
"""Stands where a site has to write something of its own."""

KINDS = tuple(DATA_SETS)


def site_template(dataset: str, name: str, coordinator: str) -> str:
    """Return a site's file to fill in.

    Args:
        dataset: kind of the data set.
        name: the site's name, or `BLANK`.
        coordinator: `host:port`, or with `BLANK` for the host.
    """
    if dataset not in KINDS:
        raise NetworkSetupError(f"--dataset {dataset}: there is no such kind of data set; known: {', '.join(KINDS)}.")
    if not SITE_NAME.fullmatch(name):
        raise NetworkSetupError(f"--name {name!r}: expected 1 to 64 letters, digits, '-' or '_'.")
    known = DATA_SETS[dataset]
    lines = [
        ("coordinator", coordinator, "address and port, as the coordinator told you"),
        ("authority", "ca.crt", "the file that the coordinator gave you; here: beside this file"),
        ("key", f"{name}.key", f"made by: fmtl keys site {name}; it never leaves this machine"),
        ("state", "state", "folder for what this site keeps between rounds; made if it is not there"),
        ("client", "", ""),
        ("  name", name, "the name the key was made for"),
        ("  dataset", dataset, "kind of data"),
        *_data_lines(dataset),
        ("  tasks", f"[{', '.join(known.first_tasks)}]", f"one or more of: {', '.join(known.tasks)}"),
        ("  image-size", "[256, 256]", "height and width that the network sees; images are brought to it"),
        ("  encoder", "resnet18", "as agreed with the coordinator: only equal encoders learn from each other"),
        ("  batch-size", "4", "images in a training step; lower it where memory is short"),
    ]
    told = [f"{f'{key}: {value}':<44}# {word}" if word else f"{key}:" for key, value, word in lines]
    return "\n".join([_HEAD.format(blank=BLANK), *told, _TAIL]) + "\n"


def _data_lines(dataset: str) -> list[tuple[str, str, str]]:
    if dataset == "procedural":
        return [
            ("  train-images", "32", "scenes to draw for training"),
            ("  validation-images", "16", "scenes to draw for scoring"),
        ]
    return [("  data-root", f"/{BLANK}", f"the folder of {DATA_SETS[dataset].title} (fmtl data help {dataset})")]


_HEAD = """# This site's file. Write your own values where it says {blank}; then: fmtl site check FILE
# Relative paths lie beside this file. docs/for-sites.md says what leaves this machine."""

_TAIL = """# If you want to (docs/scenarios.md has all keys of a client):
#  device: cuda:0                           # auto takes the first GPU there is, else the CPU
#  encoder-weights: /path/to/file.safetensors
#  privacy: {clip: 1.0, noise: 1.0, epsilon: 20}   # noise on what leaves: docs/privacy.md"""
