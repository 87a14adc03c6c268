"""A service that says of which species a penguin is, by asking a model in traind.

    TRAIND_URL=grpc://127.0.0.1:8081 TRAIND_TOKEN_FILE=token uvicorn app:app
    curl -s localhost:8000/species -H 'content-type: application/json' -d '[{"island": "Biscoe", "bill_length_mm": 46.1,
      "bill_depth_mm": 13.2, "flipper_length_mm": 211, "body_mass_g": 4500, "sex": "female"}]'

One connection is kept for all requests. What traind refuses is told to the caller with the field and the cure; what
passes by itself is 503, so that a load balancer tries again.
"""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import traind

MODEL = "species@champion"
MOST_ROWS = 1000


class Penguin(BaseModel):
    """What is measured of a penguin; mm and g."""

    island: str
    bill_length_mm: float
    bill_depth_mm: float
    flipper_length_mm: float
    body_mass_g: float
    sex: str


class Answer(BaseModel):
    """The likeliest species, and how likely it is."""

    species: str
    probability: float = Field(ge=0, le=1)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect once."""
    async with traind.AsyncClient(timeout=5) as client:
        app.state.traind = client
        yield


app = FastAPI(title="penguins", lifespan=lifespan)


@app.post("/species")
async def species(penguins: list[Penguin], request: Request) -> list[Answer]:
    """Answer for each penguin, in order."""
    if not 1 <= len(penguins) <= MOST_ROWS:
        raise traind.InvalidSpec(f"{len(penguins)} penguins", fix=f"send 1 to {MOST_ROWS}")
    columns = {name: [getattr(one, name) for one in penguins] for name in Penguin.model_fields}
    answer = await request.app.state.traind.predict(MODEL, columns, full=True)
    return [
        Answer(species=name, probability=max(shares))
        for name, shares in zip(answer.values, answer.probabilities, strict=True)
    ]


@app.get("/healthz")
async def health(request: Request) -> dict[str, str]:
    """Whether the model answers: a load balancer asks it."""
    version = await request.app.state.traind.models.get(MODEL)
    return {"model": version.name}


@app.exception_handler(traind.TraindError)
async def refused(_: Request, error: traind.TraindError) -> JSONResponse:
    """Say what traind said."""
    passing = isinstance(error, (traind.Unavailable, traind.ConnectionFailed, traind.RateLimited))
    wrong = isinstance(error, (traind.InvalidSpec, traind.TooLarge))
    status = 503 if passing else 422 if wrong else 502
    return JSONResponse({"error": str(error)}, status, {"retry-after": "1"} if passing else None)
