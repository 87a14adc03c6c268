"""Servers to measure traind beside, and the load that asks all of them the same."""
