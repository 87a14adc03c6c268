"""Atheris drives one reader, led by the code that an input reaches: `python -m tests.fuzz.guided csv 60 DIR`.

The corpus that it finds on its way is kept in DIR for the next run, and an input that breaks the reader as
DIR/crash-…: move it to `corpus/` under the name `broke-…` once the reader is mended. Needs the extra `soak`.
"""

import pathlib
import random
import shutil
import sys

import atheris

# What is not named here is not followed: following NumPy or torch would cost time and tell nothing.
FOLLOWED = (
    "service.calling",
    "service.data",
    "service.model_files",
    "service.modelling",
    "service.rest",
    "worker.checkpoints",
)
with atheris.instrument_imports(include=list(FOLLOWED)):
    # Readers of formats are imported when a file is of theirs, which would be too late to be followed.
    from service.data.reading import columnar, csv_file, json_lines, npz  # noqa: F401
    from tests.fuzz import mutation, readers

MOST_INPUT_BYTES = mutation.MOST_BYTES
# Changes of JSON values get deep; changes of bytes, which are the library's own, get everywhere.
OWN_SHARE = 0.6
MOST_MEMORY_MB = 2048


def main() -> None:
    name, seconds, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    found = folder / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    for kept in (readers.CORPUS / name).iterdir():
        shutil.copy(kept, found / kept.name)
    seeds = list(readers.seeds(name).values())
    # A first reading, so that what is imported on the way does not count as a slow one.
    for data in seeds:
        readers.attempt(name, data)

    def own_mutator(data: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < OWN_SHARE:
            return mutation.mutated(name, data, seeds, draw)[:most]
        return atheris.Mutate(data, most)

    options = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={MOST_INPUT_BYTES}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-timeout={int(readers.MOST_S) * 4}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(found),
    ]
    atheris.Setup(options, lambda data: readers.attempt(name, data) and None, custom_mutator=own_mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
