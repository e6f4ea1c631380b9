"""The versions of the hub's schema, applied at start by `aval.hub.store.sqlite`."""
