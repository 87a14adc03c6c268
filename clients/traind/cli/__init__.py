"""The command `traind`: what it prints on stdout is data, what it has to say beside goes to stderr.

Exit codes: 0 ok · 1 failure · 2 usage (also a spec or table that is refused) · 3 the job FAILED · 4 sign-in needed ·
5 not found or forbidden · 6 server not reachable · 7 rate limit · 8 wait timed out, the job goes on · 9 the job was
CANCELLED · 130 Ctrl-C, the job goes on.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import click

from traind import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name -> where it is and what it does: told here so that `traind --help` loads none of them.
COMMANDS = {
    "up": ("traind.cli.up:up", "Start a server on this machine; Ctrl-C stops it."),
    "run": ("traind.cli.run:run", "Submit the job of a .json or .toml file and watch it learn."),
    "init": ("traind.cli.init:init", "Propose a spec to predict a column, with a reason for each line."),
    "jobs": ("traind.cli.job:jobs", "List jobs, newest first."),
    "job": (
        "traind.cli.job:job",
        "Show, watch, wait for, cancel, pause, resume, retry, fork a job; its history and log.",
    ),
    "compare": ("traind.cli.compare:compare", "Put jobs beside each other: parameters, figures, losses."),
    "queue": ("traind.cli.queue:queue", "Tell who holds the server's slots, and who waits and why."),
    "predict": ("traind.cli.predict:predict", "Predict for the rows of a CSV file."),
    "batch": ("traind.cli.batch:batch", "Predict for every row of a data set, as a job."),
    "models": ("traind.cli.models:models", "List, show, measure, remove models; their aliases."),
    "export": ("traind.cli.carry:export", "Write a model into one file, for another server."),
    "import": ("traind.cli.carry:import_", "Make a model of a file that an export wrote."),
    "data": ("traind.cli.data:data", "Push, list, show, profile, look into, download and remove data sets."),
    "login": ("traind.cli.login:login", "Keep a server's address and your token in a profile."),
    "logout": ("traind.cli.login:logout", "Remove the token from a profile."),
    "whoami": ("traind.cli.whoami:whoami", "Tell whom the server takes you for."),
    "doctor": ("traind.cli.doctor:doctor", "Look at everything between this client and a trained model."),
    "spec": ("traind.cli.spec:spec", "Check a spec, fill in its defaults, print its JSON Schema."),
    "open": ("traind.cli.open:open_", "Open the server's pages in a browser."),
    "explain": ("traind.cli.explain:explain", "Explain an error, a failure or a finding."),
    "completion": ("traind.cli.completion:completion", "Print the shell's completion of this command."),
    "version": ("traind.cli.version:version", "Tell the versions of client and server."),
}

# By which a shell asks what may follow; `traind completion SHELL` prints how.
COMPLETE_VARIABLE = "_TRAIND_COMPLETE"

_EXITS: tuple[tuple[type[errors.TraindError], int], ...] = (
    (errors.JobFailed, 3),
    (errors.JobCancelled, 9),
    (errors.WaitTimeout, 8),
    (errors.ConnectionFailed, 6),
    (errors.Unavailable, 6),
    (errors.AuthRequired, 4),
    (errors.Forbidden, 5),
    (errors.NotFound, 5),
    (errors.RateLimited, 7),
    (errors.InvalidSpec, 2),
    (errors.TooLarge, 2),
    (errors.ConfigError, 2),
)


class LazyGroup(click.Group):
    """Loads a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every name, in the order of a first walk."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, loaded now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        if COMPLETE_VARIABLE in os.environ:
            from traind.cli.completing import attach  # only the shell asks for names of the server's things

            attach(found)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands in `traind --help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", metavar="URL", help="The server: grpc://HOST:8081. Else TRAIND_URL, else the profile.")
@click.option("--profile", metavar="NAME", help="A profile of ~/.config/traind/config.toml.")
@click.pass_context
def commands(ctx: click.Context, url: str | None, profile: str | None) -> None:
    """Train models on a traind server: send data, submit jobs, watch them learn, predict."""
    ctx.obj = {"url": url, "profile": profile}


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else a server that stops is announced by the library too
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a curve must not end a job's watch where only ASCII can be shown
    warnings.showwarning = _warn
    sys.exit(run_command(args))


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning of the client as a line for people, without the place in its code."""
    click.echo(f"note  {message}", err=True)


def run_command(args: Sequence[str] | None) -> int:
    """Run the command line; answers its exit code."""
    try:
        code: Any = commands.main(args, prog_name="traind", complete_var=COMPLETE_VARIABLE, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except errors.TraindError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        return exit_code(error)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def exit_code(error: errors.TraindError) -> int:
    """The exit code that tells this error."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), 1)
