"""The ``fedproxy`` command: its commands, and how trouble becomes one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from fedproxy.cli import configuration, endpoint, exits, globus, local, output, service, store, task, transfer
from fedproxy.cli.demo.command import demo
from fedproxy.errors import FedproxyError, MissingExtraError

_OF_PROGRAMS = frozenset({"alembic", "cryptography", "prometheus_client", "psutil", "sqlalchemy", "starlette", "structlog", "uvicorn", "zmq"})
"""What the service and the agent need and a client does not."""


def _version() -> str:
    try:
        return version("fedproxy")
    except PackageNotFoundError:
        return "unknown (not installed)"


def build_app() -> App:
    """All commands. Building it imports no service, agent, store or plotting code."""
    app = App(
        name="fedproxy", version=_version, default_parameter=Parameter(negative=""),
        help="Run functions where they should run; the data moves there by itself.",
    )
    app.command(demo)
    for command in (local.up, local.down, local.status):
        app.command(command)
    app.register_install_completion_command(add_to_startup=False)

    @app.command
    def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
        """Print what makes a shell complete this command: eval "$(fedproxy completion bash)".

        Parameters
        ----------
        shell
            Which one.
        """
        output.raw(app.generate_completion(prog_name="fedproxy", shell=shell))
        return exits.OK

    for group in (service.app, endpoint.app, task.app, store.app, transfer.app, transfer.site_app, globus.app, configuration.app):
        app.command(group)
    return app


def run(tokens: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    app = build_app()
    if not tokens:
        app.help_print()
        return exits.USAGE
    try:
        command, bound, *_ = app.parse_args(list(tokens), exit_on_error=False, print_error=True)
    except CycloptsError:
        return exits.USAGE
    return _outcome(lambda: command(*bound.args, **bound.kwargs))


def _outcome(command: Callable[[], object]) -> int:
    try:
        code = command()
    except KeyboardInterrupt:
        output.complain(FedproxyError("interrupted"))
        return exits.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone; nobody wants to hear about it
        return exits.OK
    except (FedproxyError, OSError, ImportError) as exc:
        output.complain(_missing(exc) if isinstance(exc, ModuleNotFoundError) else exc)
        return exits.FAILED
    return code if isinstance(code, int) else exits.OK


def _missing(exc: ModuleNotFoundError) -> Exception:
    module = (exc.name or "").partition(".")[0]
    return MissingExtraError(f"{module} is not installed", hint="pip install 'fedproxy[service,endpoint]'") if module in _OF_PROGRAMS else exc


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))
