"""The command line's ``open`` and ``demo``: the dashboard on a study."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from analysis.digest import digest_file
from analysis.errors import InputError, TrustError
from analysis.store import Progress, Study
from analysis.store.files import storage_errors
from dashboard import terminal
from dashboard.cli_options import Quiet, Threads, use_threads

WORKSPACE = Path("studies")
Port = Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]


def open_study(
    study: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder of a study, or of studies (default: studies)."),
    ] = None,
    port: Port = 8501,
    no_browser: NoBrowser = False,
    trust_code: Annotated[
        list[Path] | None, typer.Option(help="Allow this Python file to run, for live answers.")
    ] = None,
) -> None:
    """Open a study in the browser (the server listens on 127.0.0.1 only).

    The studies beside it can be opened there too. A folder of studies, or an empty one, is a
    workspace: what is there is listed, and the first study can be started in the browser.
    Models that user code made answer live only when their file is given with --trust-code.
    """
    from dashboard.server import is_workspace, serve

    if study is None:
        study = WORKSPACE
        with storage_errors(study):
            study.mkdir(exist_ok=True)
    if not is_workspace(study):
        check_trusted(Study.open(study), trust_code or ())
    elif trust_code:
        raise InputError(
            f"--trust-code with {study}, a folder of studies", remedy="open the one study it is for"
        )
    serve(study, port=port, open_browser=not no_browser, trusted_code=trust_code or ())


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's study.")] = Path(
        "studies/road-signs"
    ),
    port: Port = 8501,
    no_browser: NoBrowser = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    make_only: Annotated[
        bool, typer.Option("--make-only", help="Write the study, open nothing.")
    ] = False,
) -> None:
    """Compare the embedded road-sign models and open the dashboard."""
    from analysis.study.demo import demo_is_current, make_demo

    if not demo_is_current(out):
        use_threads(threads)
        with terminal.stage_progress(quiet=quiet) as progress:
            make_demo(out, progress=progress if make_only else _loading_server(progress))
    if make_only:
        return
    from dashboard.server import serve

    serve(out, port=port, open_browser=not no_browser)


def _loading_server(progress: Progress) -> Progress:
    """``progress``, which also loads what the server needs once the last stages are reached.

    They leave a core idle; earlier the loading would compete with the models.
    """
    begun = threading.Event()

    def load() -> None:
        for module in ("dashboard.server", "plotly.graph_objects", "streamlit.components.v2"):
            importlib.import_module(module)

    def report(stage: str, done: int, total: int) -> None:
        if stage.startswith("attributions of ") and not begun.is_set():
            begun.set()
            threading.Thread(target=load, name="load the server", daemon=True).start()
        progress(stage, done, total)

    return report


def check_trusted(study: Study, files: Sequence[Path]) -> None:
    """Raise :class:`TrustError` for a file that is not what made any model of ``study``."""
    known = {model.user_code for model in study.models.values() if model.user_code}
    for file in files:
        if not file.is_file():
            raise InputError(f"--trust-code {file} is not a file", expected="a Python file")
        if digest_file(file) not in known:
            expected = ", ".join(sorted(known)) if known else "none: no model needs user code"
            raise TrustError(
                f"{file} is not what the study was computed with",
                expected=f"code with sha256 {expected}" if known else expected,
            )


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("open")(open_study)
    app.command()(demo)
