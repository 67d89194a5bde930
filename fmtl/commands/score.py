"""``fmtl score``: prediction files against ground-truth files, with the metrics that training uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fmtl.score import ScoreResult


def command(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="semseg, parts, saliency, normals, depth or edge.", show_default=False)
    ],
    predictions: Annotated[Path, typer.Option(help="Folder of predictions, named like the ground truth.")],
    ground_truth: Annotated[Path, typer.Option(help="Folder of ground truth; every file in it is scored.")],
    *,
    num_classes: Annotated[int | None, typer.Option(help="Classes of semseg and parts (parts: 7 if left out).")] = None,
    ignore: Annotated[
        int | None,
        typer.Option(help="Ground-truth value to leave out (class labels: 255 if left out; 0/255 masks: none)."),
    ] = None,
    depth_scale: Annotated[float, typer.Option(help="Units of a 16-bit depth PNG per metre.")] = 1000.0,
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
    """Score predictions on disk with the metric of a task."""
    from client_app.metrics.edge.protocol import EdgeProtocol
    from fmtl.score import ScoreOptions, score_directory

    settings: dict[str, Any] = {"comparison": comparison, "rounding": rounding}
    protocol = EdgeProtocol(
        smoothing=smoothing,
        nms_radius=nms_radius,
        max_distance=max_distance,
        thresholds=thresholds,
        workers=workers,
        **settings,
    )
    options = ScoreOptions(num_classes=num_classes, ignore=ignore, depth_scale=depth_scale, edge=protocol)
    show(score_directory(task, predictions, ground_truth, options), as_json=json)


def show(result: ScoreResult, *, as_json: bool) -> None:
    """Print a result as a table, or as one JSON object."""
    if as_json:
        from json import dumps

        typer.echo(dumps(result.as_json(), indent=2))
        return
    from rich.text import Text

    from fmtl.screen import console, plain_table

    screen = console()
    table = plain_table("Task", "Metric", "Value", "Better", "Images")
    value = "missing" if result.value is None else f"{result.value:.4f} {result.unit}"
    table.add_row(
        result.task, result.metric, value, "higher" if result.higher_is_better else "lower", str(result.images)
    )
    screen.print(table)
    lines = [f"Missing: {result.missing_reason}"] if result.missing_reason else []
    lines += [f"{name}: {number:.4f}" for name, number in result.details.items()]
    if result.extra_predictions:
        shown = ", ".join(result.extra_predictions[:5]) + (" ..." if len(result.extra_predictions) > 5 else "")
        lines.append(f"Not scored, no ground truth: {len(result.extra_predictions)} predictions ({shown})")
    for line in lines:
        screen.print(Text(line), soft_wrap=True)
