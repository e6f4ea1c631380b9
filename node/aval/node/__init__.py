"""One establishment's authority on its own beds: it alone grants, times and expires a hold."""
