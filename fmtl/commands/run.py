"""``fmtl run``: one strategy over one scenario, in parallel or inline, from its settings to its result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fmtl.engine import Engine

EngineFlag = Annotated[str | None, typer.Option("--engine", help="`ray` (in parallel) or `inline` (one process).")]
Workers = Annotated[int | None, typer.Option(min=1, help="Clients at work at once; as many as the CPUs allow.")]
CpusPerClient = Annotated[int | None, typer.Option(min=1, help="CPU cores, and threads, of each client at work: 1.")]
GpusPerClient = Annotated[float | None, typer.Option(min=0.0, help="Share of a GPU for each client at work: 0.")]
RayAddress = Annotated[
    str | None, typer.Option(help="A Ray cluster that is already running (`auto`, host:port), not a private one.")
]


def command(
    *,
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Run config keys from a file.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One run config key; may be repeated.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Strategy; see `fmtl strategies`.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Scenario, by name or .yaml file; see `fmtl scenarios`.")] = None,
    num_server_rounds: Annotated[int | None, typer.Option(min=1, help="Number of rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    out_dir: Annotated[
        Path | None, typer.Option(help="Run folder; runs/<strategy>-<scenario>-s<seed> if left out.")
    ] = None,
    clients: Annotated[int | None, typer.Option(min=1, help="Take only the scenario's first clients.")] = None,
    engine: EngineFlag = None,
    workers: Workers = None,
    cpus_per_client: CpusPerClient = None,
    gpus_per_client: GpusPerClient = None,
    ray_address: RayAddress = None,
) -> None:
    """Run a strategy over a scenario and wait for its end.

    Exits with 0 when the run has completed, 1 when it failed, 2 for a wrong setting. All child processes are stopped on
    exit.
    """
    from fmtl.settings import read_settings

    flags = {"strategy": strategy, "scenario": scenario, "num-server-rounds": num_server_rounds, "seed": seed}
    values = read_settings(config, settings or (), {**flags, "out-dir": None if out_dir is None else str(out_dir)})
    given = given_engine(engine, workers, cpus_per_client, gpus_per_client, ray_address)
    run_and_report(values, _run_folder(values), make_engine(given), clients)


def given_engine(
    name: str | None, workers: int | None, cpus: int | None, gpus: float | None, address: str | None
) -> dict[str, Any]:
    """Return the fields of `Engine` that flags have set."""
    fields = {"name": name, "workers": workers, "cpus_per_client": cpus, "gpus_per_client": gpus}
    return {key: value for key, value in {**fields, "ray_address": address}.items() if value is not None}


def make_engine(fields: Mapping[str, Any]) -> Engine:
    """Return the engine that a command uses: `ray`, unless a flag says otherwise."""
    from fmtl.engine import Engine

    return Engine(**{"name": "ray", **fields})


def run_and_report(values: Mapping[str, Any], folder: Path, engine: Engine, clients: int | None) -> None:
    """Run, print the log's lines, and exit as the run ended.

    Raises:
        typer.Exit: the run failed (1) or was interrupted (128 + signal).
    """
    import time

    from fmtl.engine.federated_run import LOG_FILE, run
    from fmtl.errors import RunInterruptedError
    from fmtl.interruption import SignalWatch

    started = time.monotonic()
    typer.echo(f"Run folder: {folder}")
    try:
        with SignalWatch() as signals, signals.listening():
            run(values, folder, engine, clients=clients, show=typer.echo)
    except RunInterruptedError as interruption:
        resumable = (folder / "config.json").is_file()
        advice = f" Resume with: fmtl resume {folder}" if resumable else ""
        typer.echo(f"Interrupted; all processes stopped.{advice}", err=True)
        raise typer.Exit(128 + interruption.signal_number) from interruption
    except RuntimeError as error:
        typer.echo(f"Error: the run failed: {error}\nIts log: {folder / LOG_FILE}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Completed in {time.monotonic() - started:.0f} s; results: {folder}")


def _run_folder(values: Mapping[str, Any]) -> Path:
    """Return where the run is kept; a name of our own choice gets a number where it is taken, a given one does not.

    Raises:
        SettingError: the given folder is in use.
    """
    from fmtl.errors import SettingError

    if given := str(values["out-dir"]):
        folder = Path(given).expanduser().absolute()
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise SettingError(
                f"out-dir {folder} exists already; resume it with `fmtl resume {folder}`, or choose another folder."
            )
        return folder
    scenario = Path(str(values["scenario"])).stem
    strategy = str(values["strategy"]).rpartition(":")[2]
    name = f"{strategy}-{scenario}-s{values['seed']}"
    base = Path.cwd() / "runs"
    numbered = (base / (name if number == 1 else f"{name}-{number}") for number in range(1, 100_000))
    return next(folder for folder in numbered if not folder.exists())
