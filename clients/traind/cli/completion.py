"""`traind completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from traind.cli import COMPLETE_VARIABLE, commands
from traind.errors import TraindError

_SHELLS = ("bash", "zsh", "fish")
_HOW = """\b
bash:  traind completion bash > ~/.local/share/bash-completion/completions/traind
zsh:   traind completion zsh > ~/.zfunc/_traind   (with fpath+=~/.zfunc before compinit)
fish:  traind completion fish > ~/.config/fish/completions/traind.fish"""


@click.command(epilog=_HOW)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what SHELL reads to complete this command: names of commands and options, of jobs, data sets and models.

    The script asks this command, so it does not grow old.
    """
    made = get_completion_class(shell)
    if made is None:
        raise TraindError(f"this click knows no completion of {shell}", fix="upgrade it: pip install -U click")
    click.echo(made(commands, {}, "traind", COMPLETE_VARIABLE).source())
