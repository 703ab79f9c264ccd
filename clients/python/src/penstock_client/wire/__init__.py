"""The Penstock wire protocol, sans-IO: frames, blocks, entries and connection states, for both roles.

Nothing in this package reads a socket, a clock or a random source. ``docs/protocol.md`` is its specification.
"""
