"""What every gRPC server of ours asks of the core."""


def options(most_bytes: int, *, shared: bool = False) -> tuple[tuple[str, int], ...]:
    """The options of a server whose messages have at most so many bytes, either way; `shared`: on a port of several."""
    return (
        # A second server on the same port must fail, not take half of the calls, unless that is asked for.
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", most_bytes),
        ("grpc.max_metadata_size", 8 << 10),
        ("grpc.absolute_max_metadata_size", 16 << 10),
        # Not fewer: grpcio answers what is above the limit with RST_STREAM, which clients see as UNAVAILABLE.
        ("grpc.max_concurrent_streams", 1000),
        # Below these, a storm of reconnecting watchers is answered with CANCELLED.
        ("grpc.server.max_pending_requests", 20_000),
        ("grpc.server.max_pending_requests_hard_limit", 20_000),
        # Clients may ping every 30 s, also while nothing happens; a watcher that vanished is noticed after 80 s.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    )
