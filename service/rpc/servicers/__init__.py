"""The contract's services, each method a line or two on top of its verb. Both doors call these."""
