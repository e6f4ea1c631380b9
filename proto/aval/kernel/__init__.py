"""The values that the contract denotes: the vocabulary that node, hub and adapters share.

Everything here is pure. Time and messages come in as arguments, decisions come out as values, and nothing imports more
than the standard library and its own siblings.
"""
