"""A model as a script of plain PyTorch and NumPy, written to be read, with its weights beside it.

script    the whole text, from its head to what it does with a file of rows
columns   how the columns become features, with the figures that were fitted
layers    the network
answers   outputs in the targets' own units, or classes
lines     lines of Python out of values: names and categories of people stand there as literals alone, never as code
archive   the frame of a zip file
"""
