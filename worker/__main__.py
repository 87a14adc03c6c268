"""`python -m worker` runs a worker; it starts itself again as `celery` and `slot` for its parts."""

import os
import sys

import click

from service.errors import TraindError
from service.machine import logs
from service.settings import LogSettings, SettingError, Settings


def main() -> None:
    """Read the settings and run the part that is asked for; exit 2 on a setting that cannot be used."""
    os.umask(0o077)
    try:
        logs.configure(LogSettings.from_env())
        cli(prog_name="python -m worker")
    except SettingError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except TraindError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def cli(context: click.Context) -> None:
    """Run a worker: takes jobs and trains, until SIGTERM. What it shall do stands in TRAIND_… variables."""
    if context.invoked_subcommand is None:
        from service.machine.folders import make_folders
        from service.observing.tracing import require_packages
        from service.store.database import Database
        from worker.guardian import Guardian

        settings = Settings.from_env()
        require_packages(settings)
        make_folders(settings)
        Database(settings.database_url).migrate()
        sys.exit(Guardian(settings).run())


@cli.command(hidden=True)
@click.option("--places", type=int, required=True)
def celery(places: int) -> None:
    """Take tickets."""
    from worker import app
    from worker.slots import Slots

    settings = Settings.from_env()
    app.run(settings, Slots(places, settings.slots))


@cli.command(hidden=True)
@click.option("--places", type=int, required=True)
@click.option("--number", type=int, required=True)
@click.option("--leave-after", type=float, default=0.0)
def slot(places: int, number: int, leave_after: float) -> None:
    """Look for jobs."""
    from worker import polling
    from worker.slots import Slots

    settings = Settings.from_env()
    polling.run(settings, Slots(places, settings.slots), number, leave_after)


if __name__ == "__main__":
    main()
