"""Messages of the contract turned into the node's values and back: with the server, all that knows protobuf.

`words` has names, codes and instants; `inward` makes commands of requests, refusing by field what cannot be meant;
`outward` makes messages of facts, for each kind of reader what it may see.
"""
