"""``fmtl run``: one strategy over one scenario in Flower's simulation, from submission to verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fmtl.settings import RunConfig
    from fmtl.simulation import Launch

CpusPerClient = Annotated[
    int, typer.Option(min=1, help="CPU cores of each client at work; sets how many work at once.")
]
GpusPerClient = Annotated[float, typer.Option(min=0.0, help="Share of a GPU for each client at work.")]


def command(
    app_dir: Annotated[
        Path | None, typer.Argument(metavar="[APP_DIR]", help="Checkout to run; this one if left out.")
    ] = None,
    *,
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Run config keys from a file.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One run config key; may be repeated.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Strategy; see `fmtl strategies`.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Scenario, by name or .yaml file; see `fmtl scenarios`.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/<strategy>-<scenario>-s<seed> if left out.")
    ] = None,
    clients: Annotated[int | None, typer.Option(min=1, help="Number of clients, if not the scenario's.")] = None,
    cpus_per_client: CpusPerClient = 1,
    gpus_per_client: GpusPerClient = 0.0,
) -> None:
    """Run a strategy over a scenario and wait for its end.

    Exits with 0 when the run has completed, 1 when it failed, 2 for a wrong setting. Nothing that was started stays.
    """
    from fmtl.settings import app_config, merge, merge_all, parse_setting, read_config_file
    from fmtl.simulation import Launch, Resources

    app = find_app(app_dir)
    flags = {"strategy": strategy, "scenario": scenario, "num-server-rounds": rounds, "seed": seed}
    sources = [] if config is None else [(read_config_file(config), f"--config {config}")]
    sources.append((dict(parse_setting(text) for text in settings or []), "--set"))
    sources.append(({key: value for key, value in flags.items() if value is not None}, "flag"))
    values = merge_all(app_config(app), sources)
    if is_own_code(app):
        _refuse_unread(values, sources)
    folder = _run_folder(out, values)
    values = merge(values, {"out-dir": str(folder), "resume": False}, "flag")
    amount = complete(values, app, clients)
    launch_and_report(Launch(app, values, folder, Resources(amount, cpus_per_client, gpus_per_client)))


def find_app(app_dir: Path | None) -> Path:
    """Absolute path of the checkout to run: as given, else the one this command belongs to, else the current folder."""
    if app_dir is not None:
        return app_dir.expanduser().resolve()
    own = Path(__file__).resolve().parents[2]
    return own if (own / "pyproject.toml").is_file() else Path.cwd()


def complete(values: RunConfig, app: Path, clients: int | None) -> int:
    """Make what the run config leaves open definite, and return the number of clients.

    Args:
        values: run config, changed in place: a scenario file's path is made absolute (the server works in another
            folder), and the server is told to wait for all clients before the first round.
        app: the checkout that runs; a scenario's name is looked up there.
        clients: number of clients, None for that of the scenario.

    Raises:
        ScenarioError: the scenario is unknown or has mistakes.
        ValueError: a setting or a client's data is wrong, where the app is this checkout; others check for themselves.
    """
    scenario = str(values.get("scenario", ""))
    is_path = "/" in scenario or scenario.endswith((".yaml", ".yml"))
    if is_path:
        values["scenario"] = scenario = str(Path(scenario).expanduser().absolute())
    own_code = is_own_code(app)
    if clients is None or own_code:
        from fmtl_datasets.scenarios.scenario import load_scenario

        in_app = app / "datasets" / "scenarios" / f"{scenario}.yaml"
        entries = load_scenario(in_app if not is_path and in_app.is_file() else scenario).clients
        clients = len(entries) if clients is None else clients
        if own_code:
            from fmtl.precheck import check_settings

            check_settings(values, entries[:clients])
    if values.get("min-clients") == 0:
        values["min-clients"] = clients
    return clients


def is_own_code(app: Path) -> bool:
    """Whether the checkout to run is the one that this command belongs to; another has its own strategies."""
    return app == Path(__file__).resolve().parents[2]


def _refuse_unread(values: RunConfig, sources: list[tuple[RunConfig, str]]) -> None:
    """Refuse parameters of strategies that the chosen one does not read, wherever the user has set them.

    Raises:
        SettingError: such a parameter.
        StrategyParameterError: an impossible parameter of a strategy that wraps another.
    """
    from fmtl.simulation import SettingError
    from fmtl_strategies.in_force import in_force
    from fmtl_strategies.parameters import StrategyParameterError

    read = in_force(str(values["strategy"]), values)
    for given, source in sources:
        try:
            read.refuse(given)
        except StrategyParameterError as error:
            raise SettingError(f"{source}: {error}.") from error


def launch_and_report(launch: Launch) -> None:
    """Run, print progress, and exit as the run ended.

    Raises:
        typer.Exit: the run failed (1) or was interrupted (128 + signal).
    """
    import time

    from fmtl.simulation import RunInterruptedError, SimulationError, simulate

    started = time.monotonic()
    resources = launch.resources
    typer.echo(f"Running the app in {launch.app_dir} with {resources.clients} clients; run folder: {launch.out_dir}")
    try:
        simulate(launch, typer.echo)
    except RunInterruptedError as interruption:
        typer.echo(f"{interruption} {_advice(launch)}".rstrip(), err=True)
        raise typer.Exit(128 + interruption.signal_number) from interruption
    except SimulationError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Completed in {time.monotonic() - started:.0f} s; results: {launch.out_dir}")


def _advice(launch: Launch) -> str:
    resumable = (launch.out_dir / "config.json").is_file()
    return f"Go on with it later: fmtl resume {launch.out_dir}" if resumable else ""


def _run_folder(out: Path | None, values: RunConfig) -> Path:
    """Where the run is kept; a name of our own choice gets a number where it is taken, one that was given does not.

    Raises:
        SettingError: the given folder is in use.
    """
    from fmtl.simulation import SettingError

    given = out if out is not None else values.get("out-dir") or None
    if given is not None:
        folder = Path(str(given)).expanduser().absolute()
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise SettingError(
                f"--out {folder} exists already; go on with that run with `fmtl resume {folder}`, or choose another "
                f"folder with --out."
            )
        return folder
    scenario = Path(str(values.get("scenario", "app"))).stem
    strategy = str(values.get("strategy", "run")).rpartition(":")[2]
    name = f"{strategy}-{scenario}-s{values.get('seed', 0)}"
    base = Path.cwd() / "runs"
    numbered = (base / (name if number == 1 else f"{name}-{number}") for number in range(1, 100_000))
    return next(folder for folder in numbered if not folder.exists())
