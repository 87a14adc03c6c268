"""The Open Inference Protocol over HTTP, below /v2: JSON, and tensors in binary behind it.

door.py finds the path and lets the caller in, before anything of the generic door runs; body.py takes the bytes in,
codec.py makes requests of them and answers into them.
"""
