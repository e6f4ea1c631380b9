"""Where a node's facts rest: SQLite with its schema and migrations; and memory, for tests and simulation."""
