"""Where facts survive: opaque records in, a durable position out. ``docs/storage.md`` draws the files."""
