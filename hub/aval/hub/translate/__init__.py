"""Messages of the wire ↔ values of the hub, once, at the edge. Beside it only servicers and links know protobuf.

`terms` has the words that all share, `figures` what establishments publish, `reservations` commands and what nodes say
of them, `requests` what regulators say and are shown. What comes from a caller and is wrong is refused by name here
(FIELD_INVALID and its like); what comes from a node is read leniently, since a newer one may say more than we know.
"""
