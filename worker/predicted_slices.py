"""Where a job that predicts stands: the slices that are done, by their hashes, as the bytes of its checkpoint."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from service.errors import DataCorrupt
from worker.checkpoints import NewerFormat

FORMAT = 1


@dataclass(frozen=True)
class Slice:
    """A slice that is done."""

    # Rows with a prediction, rows without, and of the first those with a category that training did not see.
    done: int
    bad: int
    unseen: int
    # Objects that hold the rows; empty where there is no such row.
    answers: str
    rejected: str
    # Column and reason of the first row without.
    first: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Origin:
    """What predictions rest on: a checkpoint fits only a job with the same."""

    # The task as JSON, which names the model by its version.
    task: str
    dataset_sha256: str
    slices: int


@dataclass
class PredictState:
    """What changes while a job predicts."""

    slices: list[Slice] = field(default_factory=list)
    # Seconds of predicting until the checkpoint, of attempts of the same job.
    seconds: float = 0.0

    def count(self, number: int | None = None) -> dict[str, int]:
        """Rows with and without a prediction in the first slices; None = in all that are done."""
        slices = self.slices[:number]
        return {"rows_done": sum(one.done for one in slices), "rows_bad": sum(one.bad for one in slices)}


@dataclass(frozen=True)
class Found:
    """What a checkpoint tells beside the state."""

    state: PredictState
    # Why the bits may differ from those of a run that was never interrupted; empty if they will not.
    other_bits: str
    # Whether the job itself wrote it, and not its parent.
    own: bool


def encode(state: PredictState, origin: Origin, job_id: str) -> bytes:
    """The state as bytes."""
    kept = {
        "format": FORMAT,
        "origin": asdict(origin),
        "job": job_id,
        "seconds": state.seconds,
        "slices": [asdict(one) for one in state.slices],
        "bits": _bits(),
    }
    return json.dumps(kept).encode()


def decode(data: bytes, origin: Origin, job_id: str) -> Found | None:
    """The state that `encode` was given; None where it rests on something else.

    Seconds of another job do not count. Raises NewerFormat, and DataCorrupt when the bytes are no such checkpoint.
    """
    try:
        kept: dict[str, Any] = json.loads(data)
        if kept["format"] > FORMAT:
            raise NewerFormat(
                f"the checkpoint has format {kept['format']} of jobs that predict, of a newer version of traind; this "
                f"one reads formats up to {FORMAT}"
            )
        if kept["origin"] != asdict(origin):
            return None
        slices = [Slice(**one | {"first": tuple(one["first"])}) for one in kept["slices"]]
        if len(slices) > origin.slices:
            raise DataCorrupt("the checkpoint cannot be read: it has more slices than the job")
        seconds = float(kept["seconds"]) if kept["job"] == job_id else 0.0
        other = [f"{name} {kept['bits'][name]} -> {now}" for name, now in _bits().items() if kept["bits"][name] != now]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataCorrupt("the checkpoint of a job that predicts cannot be read") from error
    return Found(PredictState(slices, seconds), ", ".join(other), kept["job"] == job_id)


def _bits() -> dict[str, Any]:
    return {"threads": torch.get_num_threads(), "torch version": str(torch.__version__)}
