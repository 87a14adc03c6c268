"""Predictions by tensors, whatever door they come through.

A door decodes its bytes into a Request (tensors.py), `infer` (inferring.py) finds the model (lookup.py), makes columns
of the tensors (columns.py), predicts, and answers tensors by the model's signature (signature.py). What a thread that
must not wait cannot do at once raises MustWait, and is done again on a thread that may.
"""
