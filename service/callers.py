"""Who calls."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """Who calls: made by tokens.Tokens from a token."""

    user_id: str
    # The slug that begins the user's data sets and models: `kim`.
    user_name: str
    token_id: str
    # Of `read`, `submit`, `predict`, `metrics`, `admin`.
    scopes: frozenset[str]
