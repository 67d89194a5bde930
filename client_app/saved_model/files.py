"""A model's folder on a client's disk; nothing of it is sent.

<state>/<experiment>/<client>/model/model.safetensors    parameters and buffers, as they were scored
                                    model.json           what is needed to build the model and to read its output
"""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from client_app.model.multi_task_model import MultiTaskModel, build_model
from client_app.saved_model.description import ModelDescription
from client_app.saved_model.predictor import SavedModel
from client_app.tasks.objects import ObjectTask
from client_app.tasks.registry import get_task
from fmtl_strategies.contract.files import atomic_folder, explain_disk_full

MODEL_FILE, DESCRIPTION_FILE = "model.safetensors", "model.json"


class SavedModelError(ValueError):
    """A saved model that cannot be loaded; says which file and what is wrong with it."""


def save_model(model: MultiTaskModel, description: ModelDescription, folder: Path) -> None:
    """Write a model; the folder appears whole or not at all, and replaces an earlier one.

    Args:
        model: on any device.
        description: of this model.
        folder: to write.

    Raises:
        OSError: the folder cannot be written; a full disk says so.
    """
    arrays = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_folder(folder) as beside, explain_disk_full(folder):
        save_file(arrays, beside / MODEL_FILE)
        (beside / DESCRIPTION_FILE).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_model(path: str | Path) -> SavedModel:
    """Load a saved model; neither a data set nor a run is needed.

    Args:
        path: the folder `model` of a client, or a file in it.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        SavedModelError: a file is missing or damaged, or does not fit this version.
    """
    folder = Path(path).expanduser()
    folder = folder.parent if folder.is_file() else folder
    description = _read_description(folder / DESCRIPTION_FILE)
    tasks = {name: get_task(name) for name in description.tasks}
    for name, task in tasks.items():
        if isinstance(task, ObjectTask):
            tasks[name] = type(task)(description.smallest_anchor)
    modules = {name: task.modules(description.num_classes) for name, task in tasks.items()}
    width, size = description.decoder_width, description.image_size
    network = build_model(description.encoder, modules, size, decoder_width=width)
    try:
        network.load_state_dict(load_file(folder / MODEL_FILE))
    except (OSError, SafetensorError) as error:
        raise SavedModelError(
            f"{folder / MODEL_FILE} cannot be read: {error}. Copy the folder `model` again."
        ) from error
    except RuntimeError as error:
        raise SavedModelError(f"{folder / MODEL_FILE} does not fit {DESCRIPTION_FILE} beside it: {error}") from error
    return SavedModel(network, description)


def _read_description(path: Path) -> ModelDescription:
    try:
        return ModelDescription.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SavedModelError(
            f"{path} cannot be read: {error.strerror}. Expected the folder `model` that a client writes when scored."
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise SavedModelError(f"{path} describes no model that this version of fmtl can load: {error}") from error
