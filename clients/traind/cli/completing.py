"""Names of the server's things for the shell: what it tells within a second, and nothing where it does not answer."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from traind.client import Client
from traind.errors import TraindError
from traind.names import short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Names = Iterable[tuple[str, str]]

# For connecting and for answers, together; a shell that hangs is worse than one that knows less.
WITHIN_S = 0.8
MOST = 200


def attach(command: click.Command) -> None:
    """Let the arguments and options of a command, and of those below it, be completed by what their names mean."""
    if isinstance(command, click.Group):
        for one in command.commands.values():
            attach(one)
    for parameter in command.params:
        names = _BY_PARAMETER.get(parameter.name or "")
        if names is not None and not isinstance(parameter.type, click.Path | click.Choice):
            setattr(parameter, "shell_complete", _completer(names))  # noqa: B010 - click's method, for this one only


def _completer(names: Callable[[Client, str], Names]) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=told) for name, told in _asked(ctx, incomplete, names)]
        return [item for item in found if item.value.startswith(incomplete)]

    return complete


def _asked(ctx: click.Context, incomplete: str, names: Callable[[Client, str], Names]) -> Iterator[tuple[str, str]]:
    """What the server of the options, the environment or the profile tells in time."""
    given = ctx.find_root().params
    until = time.monotonic() + WITHIN_S
    seen: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Client(
                given.get("url"),
                profile=given.get("profile"),
                timeout=WITHIN_S,
                connect_timeout=WITHIN_S,
                max_retries=0,
            ) as client:
                for name, told in names(client, incomplete):
                    if name not in seen:
                        yield name, told
                    seen.add(name)
                    if len(seen) >= MOST or time.monotonic() > until:
                        return
        except TraindError:
            return


def _jobs(client: Client, incomplete: str) -> Names:
    """Ids, the newest first."""
    if not incomplete or incomplete.startswith("@"):
        yield "@last", "the newest job"
    for job in client.jobs.list(page_size=MOST):
        what = job.message.display_name or job.message.model or short_name(job.dataset)
        yield job.id, f"{job.state} {what}"


def _datasets(client: Client, incomplete: str) -> Names:
    for one in client.datasets.list():
        yield _id(one.name, incomplete), f"{one.row_count} rows"


def _models(client: Client, incomplete: str) -> Names:
    for one in client.models.list():
        yield _id(one.name, incomplete), f"from {short_name(one.dataset)}"


def _id(name: str, incomplete: str) -> str:
    """`churn` of `models/kim.churn/versions/3`; as much more as was begun to be typed: `kim.churn`, `churn:3`."""
    short = short_name(name)
    if "." not in incomplete:
        short = short.partition(".")[2]
    return short if ":" in incomplete else short.partition(":")[0]


_BY_PARAMETER: dict[str, Callable[[Client, str], Names]] = {
    "id_": _jobs,
    "ids": _jobs,
    "dataset": _datasets,
    "datasets": _datasets,
    "model": _models,
    "models": _models,
}
