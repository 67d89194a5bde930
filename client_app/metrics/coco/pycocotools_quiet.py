"""pycocotools without its progress lines."""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


def _quiet_copy(name: str) -> ModuleType:
    """Return a private copy of a module whose `print` does nothing.

    pycocotools prints on every call. Turning sys.stdout away would swallow what other threads print meanwhile, and
    changing the shared module would silence it for everybody; a copy of our own does neither.
    """
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module {name!r}: install pycocotools, which average precision is computed with.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__["print"] = _print_nothing
    return module


def _print_nothing(*_: object, **__: object) -> None:
    pass


_coco = _quiet_copy("pycocotools.coco")
_evaluation = _quiet_copy("pycocotools.cocoeval")


def annotation_set(dataset: dict[str, Any]) -> Any:
    """Return pycocotools' COCO object of a data set in COCO's annotation format."""
    annotations = _coco.COCO()
    annotations.dataset = dataset
    annotations.createIndex()
    return annotations


def evaluation(truth: Any, results: Any, iou_type: str) -> Any:
    """Return pycocotools' COCOeval of two COCO objects; `iou_type` is segm, bbox or keypoints."""
    return _evaluation.COCOeval(truth, results, iou_type)
