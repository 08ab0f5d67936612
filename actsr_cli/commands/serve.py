"""`actsr serve`: a trained model behind HTTP."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from actsr_cli import console
from actsr_cli.commands.options import SPEED, Device, RunName, RunsDir, Threads, TrustCode
from actsr_cli.errors import ConfigError

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")
ADDRESS = "Address and access"


def serve(
    run: RunName = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than loopback need an API key.", rich_help_panel=ADDRESS)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.", rich_help_panel=ADDRESS)
    ] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with one API key per line. The environment variable ACTSR_API_KEY does the same.",
            rich_help_panel=ADDRESS,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Serve newer finished runs of this model and data set as soon as they appear."),
    ] = False,
    batch: Annotated[
        int, typer.Option(min=1, max=4_096, help="Largest number of histories computed at once.", rich_help_panel=SPEED)
    ] = 64,
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            max=1_000,
            help="Milliseconds that a request may wait for others to share its batch.",
            rich_help_panel=SPEED,
        ),
    ] = 2.0,
    queue: Annotated[
        int,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Largest number of histories accepted and not yet answered; further requests get status 429.",
            rich_help_panel=SPEED,
        ),
    ] = 1_024,
    device: Device = "auto",
    threads: Threads = None,
    trust_code: TrustCode = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Serve a trained model over HTTP: recommendations, similar items, explanations, and a page to try them.

    Requests that come at the same time are computed in one batch. The page is at
    /, the description for programs at /openapi.json. SIGTERM or Ctrl-C ends the
    server after it has answered what it has accepted, within 10 seconds.

    [bold]Example:[/]  actsr serve

    [bold]Example:[/]  actsr serve beauty/ac-sasrec/first --port 8080 --watch

    [bold]Example:[/]  actsr serve --host 0.0.0.0 --api-key-file keys.txt
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise ConfigError(f"serving needs {', '.join(missing)}", hint="Install them: pip install 'actsr[serve]'")
    from actsr_cli.serving.access import KEY_VARIABLE, access, bound_socket
    from actsr_cli.serving.answers import try_out
    from actsr_cli.serving.app import application
    from actsr_cli.serving.limits import Limits
    from actsr_cli.serving.server import serve as serve_until_signal
    from actsr_cli.serving.service import Opener, Service
    from actsr_cli.serving.watch import Watch
    from actsr_cli.sessions import data_root, opened_run
    from actsr_cli.training.device import use_threads

    with bound_socket(host, port) as bound:
        address, port = bound.getsockname()[:2]
        allowed = access(address, api_key_file, os.environ.get(KEY_VARIABLE))
        use_threads(threads)
        opener = Opener(data_root(None), device, batch)
        served = opener.open(opened_run(run, runs_dir, trust_code, refits=True))
        try_out(served.recommender)
        service = Service(served, Limits(batch, wait / 1_000, queue))
        serve_until_signal(
            service,
            application(service, allowed),
            bound,
            watch=Watch(service, runs_dir, opener) if watch else None,
            on_start=lambda: console.note(
                f"Serving {served.recommender.name} on http://{f'[{address}]' if ':' in address else address}:{port}"
            ),
        )
