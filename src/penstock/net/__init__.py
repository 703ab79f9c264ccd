"""The network shell: sockets, the handshake, limits and heartbeats around the engine."""
