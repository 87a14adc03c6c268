"""Run the tutorials as they stand in docs/tutorials, on a server of their own or on the one that TRAIND_URL names.

    python examples/tutorials.py              all of them: does each block print what its page shows?
    python examples/tutorials.py 1 4          some of them
    python examples/tutorials.py --write      put what was printed into the pages, both languages, and draw the pictures

Exits with 1 if a page shows something else than what is printed.
"""

import argparse
import contextlib
import os
import pathlib
import sys
import time

import tutorial_page
import tutorial_pictures
from demo_report import Report
from demo_server import own_server


def main(words: list[str]) -> int:
    """Run the pages that are asked for; answers the exit code."""
    parser = argparse.ArgumentParser(prog="tutorials.py", description="Run the tutorials of docs/tutorials.")
    parser.add_argument("numbers", nargs="*", help="which ones; all if none is named")
    parser.add_argument("--write", action="store_true", help="put outputs and pictures into docs/tutorials")
    asked = parser.parse_args(words)
    chosen = [page for page in tutorial_page.pages() if not asked.numbers or page.name[0] in asked.numbers]
    known = {page.name[0] for page in tutorial_page.pages()}
    for number in asked.numbers:
        if number not in known:
            parser.error(f"there is no tutorial {number!r}; there are {', '.join(sorted(known))}")
    with contextlib.ExitStack() as stack:
        if not os.environ.get("TRAIND_URL"):
            server = stack.enter_context(own_server(Report()))
            # A page says `traind.Client()` and nothing else, so the address has to come from outside.
            url = server.client.server_info()
            host = server.http.partition("://")[2].rpartition(":")[0]
            os.environ |= {"TRAIND_URL": f"grpc://{host}:{url.grpc_port}", "TRAIND_TOKEN": server.token}
        right = [_run(page, write=asked.write) for page in chosen]
    return 0 if all(right) else 1


def _run(page: pathlib.Path, *, write: bool) -> bool:
    began = time.monotonic()
    text = page.read_text(encoding="utf-8")
    steps = tutorial_page.read_steps(text)
    printed, names = tutorial_page.run_steps(steps, page)
    if write:
        for path in (page, tutorial_page.translation(page)):
            path.write_text(tutorial_page.with_outputs(path.read_text(encoding="utf-8"), printed), encoding="utf-8")
        tutorial_pictures.draw(page, names)
    off = [(step, tutorial_page.difference(step.shown, output)) for step, output in zip(steps, printed, strict=True)]
    wrong = [] if write else [(step, said) for step, said in off if said]
    for step, said in wrong:
        print(f"{page.name}, line {step.line}: the page shows something else than what is printed\n{said}")
    took = time.monotonic() - began
    print(f"{page.name}: {len(steps) - len(wrong)} of {len(steps)} blocks as shown, in {took:.1f} s", flush=True)
    return not wrong


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
