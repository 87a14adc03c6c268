"""Where the files of data sets lie: in the data folder, or in an object store that the settings name."""

from service.data.objects import ObjectFolder
from service.settings import Settings


def open_objects(settings: Settings) -> ObjectFolder:
    """The objects of an installation; nothing is opened or asked before the first use."""
    if not settings.object_store:
        return ObjectFolder(settings.objects_dir, settings.tmp_dir)
    # Only who has an object store pays for its library.
    from service.data.remote_objects import RemoteObjects

    return RemoteObjects(settings.object_store, settings.cache_dir, settings.tmp_dir, settings.object_cache_bytes)
