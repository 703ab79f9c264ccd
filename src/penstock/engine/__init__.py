"""The order of things: decide (core), persist (storage), wait until durable, release effects.

The engine is synchronous and has no thread, socket or clock of its own: ``driver.py`` runs it under asyncio, the
simulator under a simulated disk.
"""
