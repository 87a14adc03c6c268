"""The client for programs with an event loop, and the source of the other one.

The nouns and their verbs are written here once. From client, datasets, jobs, listing, models, uploading and watching
`make proto` writes the files of the same names one folder up, without async and await (proto/unasync_client.py). Only
transport.py and pauses.py are written twice: there the two differ.
"""
