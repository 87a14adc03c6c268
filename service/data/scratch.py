"""Large arrays in files that have no name: their pages can leave the memory, and they end with the process."""

import math
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.data.objects import disk_full_refused


def scratch_array(folder: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of zeros, row-major, over an unlinked file in `folder`.

    Raises DiskFull: the room is taken at once, for a page that finds none later would kill the process.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with disk_full_refused(), tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
        pages = mmap.mmap(file.fileno(), max(size, 1))
    return np.frombuffer(pages, dtype, math.prod(shape)).reshape(shape)
