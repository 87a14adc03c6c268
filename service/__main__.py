"""The commands of `python -m service`: each reads the settings, wires the parts, runs."""

import os
import sys

import click

from service import accounts
from service.errors import TraindError
from service.machine import logs
from service.machine.folders import make_folders
from service.settings import LogSettings, SettingError, Settings
from service.store import users
from service.store.database import Database


def main() -> None:
    """Run a command; what cannot be used is one line on stderr: exit 2 for a setting or a name, 1 for a failure."""
    os.umask(0o077)
    # What gRPC's core writes by itself, to stderr and in a form of its own, is of connections that went wrong.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        logs.configure(LogSettings.from_env())
        cli(prog_name="python -m service")
    except (SettingError, ValueError) as error:
        _refuse(error, 2)
    except TraindError as error:
        _refuse(error, 1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run traind, and look after its users. Settings stand in TRAIND_… variables."""


@cli.command()
def up() -> None:
    """Run everything on this machine until Ctrl-C: server, worker, and a broker where none is configured."""
    from service.programs.up import StartFailed, Up

    try:
        sys.exit(Up(Settings.from_env(), click.echo).run())
    except StartFailed as error:
        _refuse(error, error.exit_code)


@cli.command()
def api() -> None:
    """Run the server alone."""
    settings = Settings.from_env()
    # The doors cost seconds to import, which no other command needs.
    from service.programs.server import run_server

    sys.exit(run_server(settings))


@cli.command()
def predict() -> None:
    """Run predictions alone, on TRAIND_PREDICT_PORT; with TRAIND_PREDICT_SHARED=on beside others on the same port."""
    settings = Settings.from_env()
    from service.programs.predicting import run_predictions

    sys.exit(run_predictions(settings))


@cli.command()
def worker() -> None:
    """Run a worker alone."""
    Settings.from_env()
    # Another program: the service never imports the worker.
    os.execv(sys.executable, [sys.executable, "-m", "worker"])  # noqa: S606  # a list of our own, no shell


@cli.command()
def migrate() -> None:
    """Bring the database to this version. Every start does it too."""
    _database(make=True)
    click.echo("the database is of this version")


@cli.command(name="copy-objects")
def copy_objects() -> None:
    """Copy the files of data sets from the data folder to TRAIND_OBJECT_STORE, when it is set for the first time."""
    from service.programs.copying import copy_objects as copy

    sys.exit(copy(Settings.from_env(), click.echo))


@cli.command()
@click.option("--dry-run", is_flag=True, help="Change nothing, and tell what would be collected.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def housekeeping(*, dry_run: bool, as_json: bool) -> None:
    """Collect what nobody needs any more. Servers do it by themselves, every TRAIND_HOUSEKEEPING_S."""
    from service.programs.housekeeping import keep_house

    sys.exit(keep_house(Settings.from_env(), click.echo, dry_run=dry_run, as_json=as_json))


@cli.command()
@click.argument("target")
def backup(target: str) -> None:
    """Write all data of a server with SQLite to TARGET, a new .tar file or a folder, while the server runs."""
    from service.programs.backup import back_up

    sys.exit(back_up(Settings.from_env(), target, click.echo))


@cli.command()
@click.argument("source")
def restore(source: str) -> None:
    """Fill an empty data folder out of SOURCE, the .tar file of a backup."""
    from service.programs.restore import restore as fill

    sys.exit(fill(Settings.from_env(), source, click.echo))


@cli.command()
@click.argument("role", type=click.Choice(["api", "worker"]))
def health(role: str) -> None:
    """Look whether the server or the worker of this data folder can do its work: for health checks."""
    from service.programs.health import look

    sys.exit(look(Settings.from_env(), role, click.echo))


@cli.command()
def doctor() -> None:
    """Look for what keeps traind from running."""
    from service.programs.doctor import examine

    sys.exit(examine(click.echo))


@cli.group()
def user() -> None:
    """Users and their tokens."""


SCOPES = click.option(
    "--scopes",
    default="read,submit,predict",
    show_default=True,
    help="What the token opens, of read,submit,predict,metrics,admin.",
)


@user.command()
@click.argument("name")
@SCOPES
def add(name: str, scopes: str) -> None:
    """Make a user and print their first token, this once."""
    database = _database(make=True)
    accounts.create_user(database, name)
    click.echo(accounts.create_token(database, name, scopes.split(",")))


@user.command()
@click.argument("name")
@SCOPES
def token(name: str, scopes: str) -> None:
    """Make another token for a user and print it, this once."""
    click.echo(accounts.create_token(_database(), name, scopes.split(",")))


@user.command(name="list")
def list_() -> None:
    """List users, and for each the ids and scopes of their tokens."""
    database = _database()
    with database.read() as connection:
        rows = users.list_users(connection)
    for row in rows:
        click.echo(row.name)
        for one in accounts.list_tokens(database, row.name):
            state = "revoked" if one.revoked_at is not None else ",".join(sorted(one.scopes))
            click.echo(f"  trd_{one.id}_…  {state}")


@user.command()
@click.argument("token_id")
def revoke(token_id: str) -> None:
    """End a token by its 8 characters: the KIND of `trd_KIND1234_…` in `user list`."""
    bare = token_id.removeprefix("trd_").partition("_")[0]
    if not accounts.revoke_token(_database(), bare):
        raise ValueError(f"there is no token {bare!r} that could be revoked; `python -m service user list` shows them")
    click.echo(f"trd_{bare}_… is revoked; servers refuse it within a second")


def _database(*, make: bool = False) -> Database:
    """The settings' database, of this version. One that is not there is refused, or made and told of."""
    settings = Settings.from_env()
    database = Database(settings.database_url)
    if not make:
        database.check_there()
    elif database.path is not None and not database.path.exists():
        click.echo(f"the data of a new server: {settings.data_dir} (TRAIND_DATA_DIR names another one)", err=True)
    make_folders(settings)
    database.migrate()
    return database


def _refuse(error: Exception, exit_code: int) -> None:
    click.echo(f"error: {error}", err=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
