"""Where a node's facts rest: the SQLite store, its schema and migrations, and a store in memory for tests and simulation."""
