"""Files of this folder, and their places that are filled: `[[http]]`."""

import functools
import pathlib

_HERE = pathlib.Path(__file__).parent


@functools.cache
def read(name: str) -> str:
    """A file's text."""
    return (_HERE / name).read_text(encoding="utf-8").rstrip("\n")


def fill(name: str, **values: str) -> str:
    """A file with HTML put into its places."""
    # Filled from the cut file, so that nothing is looked for in what was put in.
    first, *parts = read(name).split("[[")
    filled = [first]
    for part in parts:
        place, _, text = part.partition("]]")
        filled += [values[place], text]
    return "".join(filled)
