"""`python -m traind`: the same as the command `traind`."""

from traind.cli import main

main()
