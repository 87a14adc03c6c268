"""`copy-objects`: the way of an installation from a data folder to an object store."""

import shutil
from collections.abc import Callable

from service.data.objects import hash_file
from service.data.opening import open_objects
from service.machine.folders import make_folders
from service.settings import SettingError, Settings


def copy_objects(settings: Settings, say: Callable[[str], None]) -> int:
    """Copy every file of the data folder to the object store; 1 if one was damaged. Nothing is removed."""
    if not settings.object_store:
        raise SettingError(
            "TRAIND_OBJECT_STORE is not set: name the bucket, s3://BUCKET/PREFIX, to which files are copied"
        )
    make_folders(settings)
    objects = open_objects(settings)
    copied = damaged = 0
    for path in sorted(settings.objects_dir.glob("??/*")):
        if hash_file(path) != path.name:
            say(f"damaged, and not copied: {path}")
            damaged += 1
            continue
        copy = objects.new_tmp(".copied")
        try:
            shutil.copyfile(path, copy)
            objects.put(copy, path.name)
        finally:
            copy.unlink(missing_ok=True)
        copied += 1
    say(f"{copied} files of {settings.objects_dir} are in {settings.object_store}")
    return 1 if damaged else 0
