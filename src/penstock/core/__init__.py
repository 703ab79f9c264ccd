"""What a broker decides: pure and deterministic. Time, randomness, identity and durability are arguments.

State that must survive is changed only by *facts* (``facts.py``): deciding emits a fact and applies it, recovery
applies the same facts again. Leases, sessions and consumers are volatile:
after a restart every leased message is ready again.
"""
