"""HL7 v2 over MLLP, as hospitals speak it, turned into movements of the contract (IHE PAM and its French extension).

From the wire inwards:

- `framing` (pure) cuts a stream of bytes into MLLP frames, `reading` turns a frame into messages: characters by MSH-18,
  whatever line endings, batches opened; `acknowledging` writes the answer.
- `events` (pure) is the one table of what each event does, each with its section of the standard; `meaning` (pure) says
  what a message says, as a `Said` that holds no identity.
- `stays` (pure) folds all that was said of a visit, in whatever order it came, into where the patient is; `mapping`
  says which unit and bed that is; `telling` (pure) gives the movements that take the node there from what it was told.
- `inbox` keeps all this on disk, `desk` brings the three together and waits for the node (`census`), `server` listens.
- `checking`, `replaying`, `reconciling` are what people do with messages in files.

Nothing in here is known to node or hub: it is a client of `CensusService` like any other.
"""
