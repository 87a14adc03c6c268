"""The control groups of Linux that this process is in, of version 2 and 1: where it reads what they allow and count."""

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def own(controller: str) -> list[Path]:
    """The folders of this process's own groups of a controller: that of version 2, and that of version 1.

    A controller is named as version 1 does: `memory`, `cpu`. A container that sees the paths of its host finds its own
    group at the root.
    """
    folders = [(root, root / path.lstrip("/")) for root, path in _places(controller)]
    return [folder if folder.is_dir() else root for root, folder in folders]


def above(controller: str) -> list[Path]:
    """The same, and all groups above them: what any of them allows, this process has at most."""
    found = []
    for root, path in _places(controller):
        folder = root / path.lstrip("/")
        found += [one for one in (folder, *folder.parents) if one.is_relative_to(root)]
    return list(dict.fromkeys(found))


def read(path: Path) -> str:
    """The text of a file of the system, stripped; empty where there is none."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii").strip()
    return ""


def _places(controller: str) -> list[tuple[Path, str]]:
    """(where the tree of a version is mounted, the group's path in it)"""
    found = []
    for line in read(_OWN).splitlines():
        number, kinds, path = line.split(":", 2)
        if number == "0":
            found += [(ROOT, path), (ROOT / "unified", path)]
        elif controller in kinds.split(","):
            # Version 1 mounts kinds together, under a name of all of them, with a link of each.
            found.append((ROOT / controller, path))
    return found
