"""A model as one file: safetensors with its weights, and everything else in the header as the contract's ModelFile.

layout       the file's frame: length, header, bytes of tensors
description  the text of the header: ModelFile as JSON, with its SHA-256
bounds       whether that is small enough to be looked at
checks       whether a ModelFile, and the weights beside it, are those of a model that this server could have made
"""
