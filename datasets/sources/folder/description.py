"""Reading ``fmtl-data.yaml``, with errors that name file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from fmtl_datasets.scenarios.scenario_file import ScenarioError, ScenarioText, check_keys, read_scenario_text
from fmtl_datasets.scenarios.share import StrictModel
from fmtl_datasets.shared.source import DataFileError, DataLayoutError
from fmtl_datasets.sources.folder.settings import Description, ImageFiles, Split, TaskFiles
from pydantic import ValidationError

FILE_NAME = "fmtl-data.yaml"
PAGE = "docs/your-own-data.md"


def read_description(root: Path) -> tuple[Description, ScenarioText]:
    """Read and check the description in a data root.

    Args:
        root: the data root.

    Returns:
        What it says, and the text with its line numbers.

    Raises:
        DataLayoutError: there is no such folder, or no such file in it.
        DataFileError: invalid YAML, unknown keys or impossible values; all of them are listed.
    """
    path = root / FILE_NAME
    if not root.is_dir():
        raise DataLayoutError(f"data-root = {str(root)!r} is no folder. Point it at the folder that holds {FILE_NAME}.")
    if not path.is_file():
        raise DataLayoutError(
            f"{path} is missing. A folder of your own images needs this file, which says where images and labels lie; "
            f"{PAGE} shows how to write it."
        )
    try:
        text = read_scenario_text(path, "data description", "name, images, lists (or split) and tasks")
    except ScenarioError as error:
        raise DataFileError(str(error)) from error
    try:
        return Description.model_validate(text.content), text
    except ValidationError as error:
        in_order = sorted(error.errors(), key=lambda found: text.line(*found["loc"]))
        problems = [_problem(text, found["loc"], found) for found in in_order]
        raise DataFileError("\n".join(dict.fromkeys(problems))) from error


def _problem(text: ScenarioText, keys: tuple[str | int, ...], found: Mapping[str, Any]) -> str:
    """One finding as a sentence: where, which key, the value, and what was expected."""
    name = ".".join(str(key) for key in keys)
    if found["type"] == "missing":
        return f"{text.where(*keys[:-1])}: the key '{name}' is missing."
    if found["type"] == "extra_forbidden":
        unknown = check_keys(text, keys[:-1], keys[-1:], _model_at(keys[:-1]).file_keys())[0]
        return unknown.replace(": unknown key", f": {name}: unknown key", 1) if len(keys) > 1 else unknown
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "string_pattern_mismatch":
        message = "expected 1 to 64 letters, digits, '-' or '_'"
    if found["type"] == "model_type":
        message = f"expected the keys {', '.join(_model_at(keys).file_keys())}"
    value = f" = {found['input']!r}" if name and not isinstance(found["input"], dict) else ""
    return f"{text.where(*keys)}: {name}{value}{': ' if name else ''}{message}."


def _model_at(keys: tuple[str | int, ...]) -> type[StrictModel]:
    """The model whose keys stand below a place of the file."""
    if len(keys) > 1 and keys[0] == "tasks":
        optional = get_args(TaskFiles.model_fields[str(keys[1])].annotation)
        labels: type[StrictModel] = optional[0]
        return labels
    models: Mapping[str, type[StrictModel]] = {"tasks": TaskFiles, "images": ImageFiles, "split": Split}
    return models[str(keys[0])] if keys else Description
