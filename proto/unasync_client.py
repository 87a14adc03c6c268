"""Writes the blocking client from the one with an event loop: run by `make proto`.

    python proto/unasync_client.py [FOLDER]

Each file of clients/traind/aio that has no twin written by hand becomes FOLDER/clients/traind/<the same name>
(FOLDER is the checkout by default), without async, await and the Async of its names.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ("client", "datasets", "jobs", "listing", "models", "uploading", "watching")
HEAD = "# Written by proto/unasync_client.py from aio/{name}.py; change that one, then run make proto.\n"
CHANGES = (
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAwaitable\[((?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*)\]", r"\1"),
    (r"\bAwaitable, ", ""),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAsync([A-Z])", r"\1"),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\baclosing\b", "closing"),
    (r"\btraind\.aio\b", "traind"),
    (r"  # noqa: ASYNC\d+( - [^\n]*)?", ""),
)


def main() -> None:
    """Write every file, and let ruff set it."""
    out = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    folder = out / "clients" / "traind"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in SOURCES:
        text = (ROOT / "clients" / "traind" / "aio" / f"{name}.py").read_text(encoding="utf-8")
        for pattern, replacement in CHANGES:
            text = re.sub(pattern, replacement, text)
        file = folder / f"{name}.py"
        file.write_text(HEAD.format(name=name) + text, encoding="utf-8")
        written.append(str(file))
    config = ["--config", str(ROOT / "pyproject.toml")]
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", *config, "--quiet", "--fix", "--select", "I,F401,TC", *written], check=True)
    subprocess.run([*ruff, "format", *config, "--quiet", *written], check=True)


if __name__ == "__main__":
    main()
