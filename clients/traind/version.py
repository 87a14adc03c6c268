"""The one place where traind's version stands; server, client and wheel read it here."""

__version__ = "0.1.0"
