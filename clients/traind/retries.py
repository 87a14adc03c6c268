"""When a failed call is sent again, and after how long; the same for every transport."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from traind.errors import ConnectionFailed, RateLimited, TimedOut, Unavailable

if TYPE_CHECKING:
    from traind.errors import TraindError

FIRST_DELAY_S = 0.5
LARGEST_DELAY_S = 8.0


def back_off(attempt: int) -> float:
    """Seconds to wait after the `attempt`-th failure (1, 2, ...): doubling, with jitter so that clients spread out."""
    whole = min(LARGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (attempt - 1))
    return whole * random.uniform(0.5, 1.0)  # noqa: S311 - no secret is made of it


def delay_before_retry(error: TraindError, attempt: int, *, repeatable: bool, max_retries: int) -> float | None:
    """Seconds after which the call is sent again; None = it is not.

    Only calls that may come twice, and only where another answer can be hoped for: the server was not there, or said
    itself when to come again.
    """
    if not repeatable or attempt > max_retries or not is_passing(error):
        return None
    return max(back_off(attempt), error.retry_after or 0.0)


def is_passing(error: TraindError) -> bool:
    """Whether the same call may well succeed a moment later."""
    if isinstance(error, RateLimited):
        return error.retry_after is not None
    return isinstance(error, ConnectionFailed | Unavailable) and not isinstance(error, TimedOut)
