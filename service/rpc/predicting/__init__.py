"""The door of predictions, on a port of its own, so that they and everything else do not wait for each other.

loop.py serves it by one thread on gRPC's completion queue, which costs a third of what grpc.aio does; threads.py is the
same door by gRPC's own sync server, for a grpcio on which the loop does not pass selftest.py. door.py chooses.
"""
