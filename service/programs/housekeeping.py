"""`housekeeping`: collects what nobody needs, or tells what it would collect."""

import json
from collections.abc import Callable, Sequence

from service import housekeeping
from service.data.opening import open_objects
from service.errors import TraindError
from service.housekeeping import Tally
from service.machine.folders import make_folders
from service.settings import Settings
from service.store.database import Database

Say = Callable[[str], None]


class HouseTaken(TraindError):
    """Another process is at it."""


def keep_house(settings: Settings, say: Say, *, dry_run: bool, as_json: bool) -> int:
    """Do it once; 1 if something could not be done, which the next run tries again. A dry run makes no table either."""
    database = Database(settings.database_url)
    try:
        if dry_run:
            database.check_migrated()
        else:
            make_folders(settings)
            database.migrate()
        kinds = housekeeping.House(settings, database, open_objects(settings)).kinds()
        tallies = housekeeping.look(kinds) if dry_run else _clean(database, kinds)
    finally:
        database.dispose()
    say(_as_json(tallies, dry_run=dry_run) if as_json else _as_table(tallies, dry_run=dry_run))
    return 1 if any(tally.failed for tally in tallies) else 0


def _clean(database: Database, kinds: Sequence[housekeeping.Kind]) -> list[Tally]:
    with database.keeping_house() as alone:
        if not alone:
            raise HouseTaken("another process keeps house just now: run the command again when it has ended")
        return housekeeping.clean(kinds)


def _as_json(tallies: Sequence[Tally], *, dry_run: bool) -> str:
    kinds = [
        {"kind": one.kind, "count": one.count, "bytes": one.size_bytes, "examples": one.examples, "failed": one.failed}
        for one in tallies
    ]
    count, size = (sum(figures) for figures in zip(*((one.count, one.size_bytes) for one in tallies), strict=True))
    return json.dumps({"dry_run": dry_run, "count": count, "bytes": size, "kinds": kinds}, indent=2)


def _as_table(tallies: Sequence[Tally], *, dry_run: bool) -> str:
    lines = [f"{'would be collected' if dry_run else 'collected':<19}  count         bytes"]
    for one in tallies:
        lines.append(f"  {one.kind:<17}{one.count:>7,}{one.size_bytes:>14,}  {', '.join(one.examples)}".rstrip())
        if one.failed:
            lines.append(f"    not done to the end: {one.failed}")
    return "\n".join(lines)
