"""A model as one ONNX graph, from the columns to the answers, for programs without traind.

graph       nodes and constants by name
arithmetic  functions that ONNX has no operator for
steps       what is done to numbers, and undone of targets
dates       parts of times
columns     the columns become features, and it is known which rows Predict would refuse
layers      the network
answers     outputs in the targets' own units, or classes
file        the graph as a file, with the weights where they are stored

ONNX itself is imported here alone, for which an export of this format is to be asked for.
"""
