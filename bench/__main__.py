"""Runs every speed figure of traind, each beside its baseline in the same run; exits 1 when a stated one is missed.

python -m bench [NAME ...]      NAME is a file of this folder without .py; none = all
"""

import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent


def main() -> int:
    there = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    asked = sys.argv[1:] or there
    unknown = sorted(set(asked) - set(there))
    if unknown:
        print(f"no bench called {', '.join(unknown)}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    missed = []
    for name in asked:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=FOLDER.parent, check=False).returncode:
            missed.append(name)
    print(f"== missed: {', '.join(missed)}" if missed else "== all figures hold", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
