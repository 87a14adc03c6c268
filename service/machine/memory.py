"""How memory is kept: what the C library has free is given back early, and what stays for ever is not looked at."""

import ctypes
import gc

KIB, MIB = 1 << 10, 1 << 20

# What glibc calls them in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# A block from this size on is a mapping of its own, which ends when it is freed. Left alone, glibc raises this to
# 32 MiB as soon as blocks of that size are freed, and keeps them from then on.
MMAP_BYTES = 256 * KIB
# So much may be free at the end of a heap before it is given back.
TRIM_BYTES = 1 * MIB
# Objects that may be made before the youngest are looked at. A prediction makes some hundred and keeps none.
YOUNG_OBJECTS = 10_000


def give_back_early() -> bool:
    """Set both borders for this process; False, and nothing changed, where the C library has none: not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    mapped, trimmed = mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES), mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
    return bool(mapped == trimmed == 1)


def settle() -> None:
    """Have the collector leave alone what there is now, when a server is ready: modules, tables, compiled statements.

    It would look at all of that again and again, and most often so under load, to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
