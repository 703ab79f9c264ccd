"""The ``penstock`` command.

Modules here import the broker, the SDK and rich inside functions: every start pays only for what it uses.
"""
