"""``fmtl score``: prediction files against ground-truth files, with the metrics that training uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fmtl_datasets.shared.conventions import TASKS

if TYPE_CHECKING:
    from fmtl.scoring.result import ScoreResult

NO_SCORE = 1

HELP = f"""Score predictions on disk with the metric of a task.

TASK is one of {", ".join(TASKS)}.

Examples:

fmtl score semseg --predictions DIR --ground-truth DIR --num-classes 40

fmtl score instance --predictions results.json --ground-truth instances_val2017.json --iou segm

fmtl score keypoints --predictions results.json --ground-truth person_keypoints_val2017.json

fmtl score panoptic --predictions panoptic.json --ground-truth panoptic_val2017.json

Exits with 0 when there is a score, 1 when none can be computed (the reason is printed), 2 for files or settings that
are wrong. Files of each task: docs/metrics.md.
"""


def command(
    task: Annotated[str, typer.Argument(metavar="TASK", show_default=False)],
    predictions: Annotated[
        Path,
        typer.Option(
            help="Folder of predictions, named like the ground truth; instance, keypoints: results JSON; panoptic: "
            "panoptic JSON."
        ),
    ],
    ground_truth: Annotated[
        Path,
        typer.Option(
            help="Folder of ground truth, every file in it is scored; instance, keypoints: annotation JSON; panoptic: "
            "panoptic JSON."
        ),
    ],
    *,
    num_classes: Annotated[
        int | None, typer.Option(help="Classes of semseg, stuff and parts (parts: 7 if left out).")
    ] = None,
    ignore: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Ground-truth value to leave out, in class labels beside 255; none in 0/255 masks if not given.",
        ),
    ] = None,
    depth_scale: Annotated[float, typer.Option(help="Units of a 16-bit depth PNG per metre.")] = 1000.0,
    iou: Annotated[str, typer.Option(help="Instance: 'segm' compares masks, 'bbox' boxes.")] = "segm",
    prediction_folder: Annotated[
        Path | None, typer.Option(help="Panoptic: PNG files of the predictions (else the JSON's path without .json).")
    ] = None,
    truth_folder: Annotated[
        Path | None, typer.Option(help="Panoptic: PNG files of the ground truth (else the JSON's path without .json).")
    ] = None,
    max_distance: Annotated[
        float, typer.Option(help="Edge: matching distance as a share of the diagonal (NYUD-v2: 0.011).")
    ] = 0.0075,
    thresholds: Annotated[int, typer.Option(help="Edge: how many; other than 99 reports odsF@N.")] = 99,
    smoothing: Annotated[bool, typer.Option(help="Edge: smooth before suppression.")] = True,
    nms_radius: Annotated[int, typer.Option(help="Edge: radius of suppression in pixels; 0 for none.")] = 4,
    comparison: Annotated[str, typer.Option(help="Edge: '>=' or '>' threshold.")] = ">=",
    rounding: Annotated[
        str,
        typer.Option(help="Edge: 'truncate' (or 'round', the same for 8-bit files), or 'none' after suppression."),
    ] = "truncate",
    workers: Annotated[int, typer.Option(help="Edge: processes; 0 for none.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    from client_app.metrics.edge.protocol import EdgeProtocol
    from fmtl.scoring.result import ScoreOptions
    from fmtl.scoring.tasks import score

    settings: dict[str, Any] = {"comparison": comparison, "rounding": rounding}
    protocol = EdgeProtocol(
        smoothing=smoothing,
        nms_radius=nms_radius,
        max_distance=max_distance,
        thresholds=thresholds,
        workers=workers,
        **settings,
    )
    options = ScoreOptions(
        num_classes=num_classes,
        ignore=ignore,
        depth_scale=depth_scale,
        edge=protocol,
        iou=iou,
        prediction_folder=prediction_folder,
        truth_folder=truth_folder,
    )
    result = score(task, predictions, ground_truth, options)
    show(result, as_json=json)
    if result.value is None:
        raise typer.Exit(NO_SCORE)


command.__doc__ = HELP


def show(result: ScoreResult, *, as_json: bool) -> None:
    """Print a result as a table, or as one JSON object."""
    if as_json:
        from json import dumps

        typer.echo(dumps(result.as_json(), indent=2))
        return
    from rich.text import Text

    from fmtl.tables import console, plain_table

    screen = console()
    value = "missing" if result.value is None else f"{result.value:.4f} {result.unit}"
    row = (result.task, result.metric, value, "higher" if result.higher_is_better else "lower", str(result.images))
    screen.print(plain_table(("Task", "Metric", "Value", "Better", "Images"), [row]))
    lines = [f"Missing: {result.missing_reason}"] if result.missing_reason else []
    lines += [f"{name}: {'none' if number is None else f'{number:.4f}'}" for name, number in result.details.items()]
    lines += result.notes
    if None in result.details.values():
        lines.append("none: no labelled object is of that kind or size.")
    if result.extra_predictions:
        shown = ", ".join(result.extra_predictions[:5]) + (" ..." if len(result.extra_predictions) > 5 else "")
        lines.append(f"Not scored, no ground truth: {len(result.extra_predictions)} predictions ({shown})")
    for line in lines:
        screen.print(Text(line), soft_wrap=True)
