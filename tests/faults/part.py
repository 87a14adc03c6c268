"""Becomes one program of traind, with settings of its own: `python -m tests.faults.part NAME=VALUE … -- MODULE …`."""

import os
import sys


def main():
    split = sys.argv.index("--")
    environ = os.environ | dict(word.split("=", 1) for word in sys.argv[1:split])
    os.execve(sys.executable, [sys.executable, "-m", *sys.argv[split + 1 :]], environ)


if __name__ == "__main__":
    main()
