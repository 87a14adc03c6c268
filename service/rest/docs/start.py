"""The beginning of the page: where the doors are, how a token is sent, the first calls."""

from service.rest.docs.commands import AUTHORIZATION, Address
from service.rest.docs.markup import code_block, escape
from service.rest.docs.templates import fill

EXPORT = "export TRAIND_TOKEN=$(cat .traind/run/token)"


def start(address: Address) -> str:
    """The section."""
    first = f"curl -s {address.http}/v1/serverInfo \\\n  -H {AUTHORIZATION}"
    return fill(
        "start.html",
        http=escape(address.http),
        grpc=escape(address.grpc),
        export=code_block(EXPORT, "shell"),
        first=code_block(first, "curl"),
    )
