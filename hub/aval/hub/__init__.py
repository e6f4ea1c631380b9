"""The territory: follows every node, shows their beds as one, and brokers reservations between them."""
