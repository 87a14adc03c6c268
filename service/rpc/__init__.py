"""The gRPC door: the only folder that imports grpc."""
