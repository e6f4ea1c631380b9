"""The rows by which several hubs share the nodes: leases, who is alive, proofs of life. PostgreSQL only.

Every instant here is read from the database's clock, the only one that all hubs have. An epoch is counted up each time
a lease changes hands and never goes back: it, not the time, is what a write is held against. With it the holder, should
a database that was set back have given one epoch to two hubs.
"""

RENEW = """
UPDATE lease SET until = clock_timestamp() + make_interval(secs => :seconds)
FROM unnest(CAST(:establishments AS text[]), CAST(:epochs AS bigint[])) AS mine (establishment, epoch)
WHERE lease.establishment = mine.establishment AND lease.epoch = mine.epoch AND lease.holder = :holder
RETURNING lease.establishment
"""
GIVE_UP = """
UPDATE lease SET until = '-infinity'
FROM unnest(CAST(:establishments AS text[]), CAST(:epochs AS bigint[])) AS mine (establishment, epoch)
WHERE lease.establishment = mine.establishment AND lease.epoch = mine.epoch AND lease.holder = :holder
"""
OFFER = """
INSERT INTO lease (establishment, holder, epoch, until)
SELECT unnest(CAST(:establishments AS text[])), -1, 0, '-infinity' ON CONFLICT DO NOTHING
"""
TAKE = """
UPDATE lease SET holder = :holder, epoch = epoch + 1, until = clock_timestamp() + make_interval(secs => :seconds)
WHERE establishment IN (
  SELECT establishment FROM lease WHERE until < clock_timestamp() AND establishment = ANY(:establishments)
  ORDER BY establishment LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING establishment, epoch
"""
NEXT_FREE = """
SELECT CAST(extract(epoch FROM min(until) - clock_timestamp()) AS double precision) FROM lease
WHERE until > clock_timestamp() AND holder <> :holder AND establishment = ANY(:establishments)
"""
HOLD = """
SELECT 1 FROM lease WHERE establishment = :establishment AND epoch = :epoch AND holder = :holder FOR SHARE
"""
HOLDERS = "SELECT establishment, holder, epoch FROM lease WHERE until > clock_timestamp() ORDER BY establishment"
ALIVE = """
INSERT INTO replica (number, until) VALUES (:number, clock_timestamp() + make_interval(secs => :seconds))
ON CONFLICT (number) DO UPDATE SET until = excluded.until
"""
GONE = "UPDATE replica SET until = '-infinity' WHERE number = :number"
ALIVE_COUNT = "SELECT count(*) FROM replica WHERE until > clock_timestamp()"
SAVE_PROOF = """
INSERT INTO proof (establishment, heard_at, body)
VALUES (:establishment, clock_timestamp() - make_interval(secs => :seconds), :body)
ON CONFLICT (establishment) DO UPDATE SET heard_at = excluded.heard_at, body = excluded.body
"""
PROOFS = """
SELECT body, CAST(extract(epoch FROM clock_timestamp() - heard_at) AS double precision) FROM proof
WHERE establishment <> ALL(:establishments)
"""
PICTURE = "SELECT body FROM picture WHERE establishment = :establishment"
PICTURE_UNITS = "SELECT body FROM picture_unit WHERE establishment = :establishment ORDER BY name"
HEADS = "SELECT body FROM picture"
REVISIONS = "SELECT name, revision FROM request WHERE archived = 0"
REQUEST_LOCKED = "SELECT body FROM request WHERE name = :name FOR UPDATE"
LOCK_ORIGIN = "SELECT 1 FROM origin WHERE id = 1 FOR UPDATE"
LOCK_ACT = "SELECT pg_advisory_xact_lock(hashtextextended(:act, 0))"
PUT_ROW = """
INSERT INTO outbox (id, request, reservation, establishment, attempts, last_reason, body)
VALUES (:id, :request, :reservation, :establishment, :attempts, :last_reason, :body)
"""
OUTBOX_TAKEN = """
SELECT body, attempts, last_reason FROM outbox AS mine
WHERE establishment = :establishment AND NOT EXISTS (
  SELECT 1 FROM outbox AS earlier WHERE earlier.reservation = mine.reservation AND earlier.position < mine.position)
ORDER BY position LIMIT :limit FOR UPDATE OF mine SKIP LOCKED
"""
NOTIFY = "SELECT pg_notify(:channel, :payload)"
