"""Plain stacks of linear layers learn by a forward and a backward pass that are written out over flat buffers."""

from worker.written_out.step import WrittenOut

__all__ = ["WrittenOut"]
