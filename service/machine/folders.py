"""The data folder: made at a start, for its owner only."""

import pathlib

from service.settings import SettingError, Settings


def make_folders(settings: Settings) -> None:
    """Make the data folder and what stands in it, all of mode 0700. Raises SettingError naming what cannot be made."""
    for folder in (settings.data_dir, settings.objects_dir, settings.tmp_dir, settings.run_dir):
        _make(folder)


def _make(folder: pathlib.Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise SettingError(
            f"TRAIND_DATA_DIR: the folder {folder} cannot be used ({error.strerror}); name another one"
        ) from error
