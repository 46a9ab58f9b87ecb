"""SQL of the sink on PostgreSQL. The sink fills in the names in braces, with its prefix.

All transactions take locks in one order: rows by their key, then ranges by their leaf.
"""

from __future__ import annotations

from hashlib import sha256

# Each is made only if it is missing: even IF NOT EXISTS takes locks that wait for writers and readers.
TABLES = {
    "views": """
CREATE TABLE {views} (
    projection text COLLATE "C" NOT NULL,
    version    integer NOT NULL,
    row        text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    place      bytea NOT NULL,
    vector     text NOT NULL,
    state      text NOT NULL,
    value      json NOT NULL,
    exact      text,
    digest     bytea NOT NULL,
    PRIMARY KEY (projection, version, row, key)
)""",
    "place_index": "CREATE INDEX {place_index} ON {views} (projection, version, place)",
    "ranges": """
CREATE TABLE {ranges} (
    projection text COLLATE "C" NOT NULL,
    version    integer NOT NULL,
    leaf       text COLLATE "C" NOT NULL,
    count      bigint NOT NULL,
    digest     bit(256) NOT NULL,
    PRIMARY KEY (projection, version, leaf)
) WITH (fillfactor = 50)""",
    "active": """
CREATE TABLE {active} (
    projection text COLLATE "C" PRIMARY KEY,
    version    integer NOT NULL
)""",
}
CURRENT = """
CREATE OR REPLACE VIEW {current} AS
    SELECT v.projection, v.version, v.row, v.key, v.vector, v.value FROM {views} v
    LEFT JOIN {active} a USING (projection) WHERE v.version = coalesce(a.version, 1)
"""
MADE_AS = f"Meridian's, {sha256(CURRENT.encode()).hexdigest()[:16]}"
"""Comment on the view {current}: the definition that it was made by. PostgreSQL stores definitions in words of its own."""
THERE = "SELECT to_regclass(quote_ident(%s)) IS NOT NULL, obj_description(to_regclass(quote_ident(%s)), 'pg_class')"
SUFFIXES = {
    "views": "_views",
    "ranges": "_ranges",
    "active": "_active",
    "current": "_current",
    "place_index": "_views_place",
}
HELD = """
SELECT w.n, v.vector, v.digest
FROM unnest(%s::int[], %s::text[], %s::int[], %s::text[], %s::text[]) AS w (n, projection, version, row, key)
JOIN {views} v USING (projection, version, row, key)
"""
LOCK = HELD + "ORDER BY v.projection, v.version, v.row, v.key FOR UPDATE OF v"
ADD_UP = """
INSERT INTO {ranges} AS r (projection, version, leaf, count, digest)
SELECT projection, version, leaf, sum(count), bit_xor(delta) FROM changed GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (projection, version, leaf) DO UPDATE SET count = r.count + excluded.count, digest = r.digest # excluded.digest
"""
# Inserts come before updates: an insert waits for a row that is being changed, not for one that is only locked.
CHANGE = """
WITH w AS (
    SELECT * FROM unnest(
        %s::text[], %s::int[], %s::text[], %s::text[], %s::bool[],
        %s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bit(256)[]
    ) AS w (projection, version, row, key, is_new, place, vector, state, value, exact, digest, delta)
), made AS (
    INSERT INTO {views} (projection, version, row, key, place, vector, state, value, exact, digest)
    SELECT projection, version, row, key, place, vector, state, value::json, exact, digest FROM w
    WHERE is_new ORDER BY projection, version, row, key
    ON CONFLICT DO NOTHING
    RETURNING projection, version, row, key, place, 1 AS count, ('x' || encode(digest, 'hex'))::bit(256) AS delta
), moved AS (
    UPDATE {views} v SET vector = w.vector, state = w.state, value = w.value::json, exact = w.exact, digest = w.digest
    FROM w WHERE NOT w.is_new AND (SELECT count(*) FROM made) >= 0
    AND (v.projection, v.version, v.row, v.key) = (w.projection, w.version, w.row, w.key)
    RETURNING v.projection, v.version, v.row, v.key, v.place, 0 AS count, w.delta
), done AS (
    SELECT * FROM moved UNION ALL SELECT * FROM made
)"""
WRITE = (
    CHANGE
    + """, changed AS (
    SELECT projection, version, left(encode(place, 'hex'), {digits}) AS leaf, count, delta FROM done
), summed AS ("""
    + ADD_UP
    + """) SELECT projection, version, row, key FROM done"""
)
# A batch in several statements: all rows first, then the ranges at once. Ranges between rows would break the order.
WRITE_ROWS = CHANGE + "SELECT projection, version, row, key FROM done"
SUM = (
    """
WITH changed AS (
    SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::bigint[], %s::bit(256)[])
    AS w (projection, version, leaf, count, delta)
)"""
    + ADD_UP
)
LOAD = """
SELECT projection, version, row, key, vector, state, coalesce(exact, value::text), digest
FROM unnest(%s::int[], %s::text[], %s::int[], %s::text[], %s::text[]) AS w (n, projection, version, row, key)
JOIN {views} USING (projection, version, row, key)
"""
VIEWS = """
SELECT projection, version, row, key, vector, state, coalesce(exact, value::text), digest FROM {views}
WHERE projection = %s AND version = %s AND (row, key) > (%s, %s)
ORDER BY row, key LIMIT {page}
"""
CELLS = """
SELECT projection, version, row, key, vector, state, coalesce(exact, value::text), digest FROM {views}
WHERE projection = %s AND version = %s AND row = %s AND key > %s
ORDER BY key LIMIT {page}
"""
LEAVES = "SELECT leaf, count, digest::text FROM {ranges} WHERE projection = %s AND version = %s"
ROWS = """
SELECT key, row, vector, digest FROM {views}
WHERE projection = %s AND version = %s AND place BETWEEN decode(%s, 'hex') AND decode(%s, 'hex')
"""
# All are locked before one is deleted, for the same reason.
DOOMED = """
SELECT row, key FROM {views} WHERE projection = %s AND version = %s
ORDER BY projection, version, row, key LIMIT {drop} FOR UPDATE
"""
DELETE = (
    """
WITH gone AS (
    DELETE FROM {views} v USING unnest(%s::text[], %s::text[]) AS w (row, key)
    WHERE v.projection = %s AND v.version = %s AND (v.row, v.key) = (w.row, w.key)
    RETURNING v.projection, v.version, v.place, v.digest
), changed AS (
    SELECT projection, version, left(encode(place, 'hex'), {digits}) AS leaf, -1 AS count,
           ('x' || encode(digest, 'hex'))::bit(256) AS delta
    FROM gone
), summed AS ("""
    + ADD_UP
    + """) SELECT count(*) FROM gone"""
)
# A damaged view may be in its range by another digest: so a range that loses such a view is recomputed from its rows,
# while nothing else changes it.
DISCARD = """
DELETE FROM {views} v USING unnest(%s::text[], %s::int[], %s::text[], %s::text[]) AS w (projection, version, row, key)
WHERE (v.projection, v.version, v.row, v.key) = (w.projection, w.version, w.row, w.key)
"""
LOCK_RANGES = """
SELECT 1 FROM {ranges} r JOIN unnest(%s::text[], %s::int[], %s::text[]) AS w (projection, version, leaf)
USING (projection, version, leaf) ORDER BY r.projection, r.version, r.leaf FOR UPDATE OF r
"""
ANEW = """
UPDATE {ranges} r SET (count, digest) = (
    SELECT count(*), coalesce(bit_xor(('x' || encode(v.digest, 'hex'))::bit(256)), 0::bit(256)) FROM {views} v
    WHERE v.projection = r.projection AND v.version = r.version
    AND v.place BETWEEN decode(rpad(r.leaf, 64, '0'), 'hex') AND decode(rpad(r.leaf, 64, 'f'), 'hex')
)
FROM unnest(%s::text[], %s::int[], %s::text[]) AS w (projection, version, leaf)
WHERE (r.projection, r.version, r.leaf) = (w.projection, w.version, w.leaf)
"""
EMPTIED = """
DELETE FROM {ranges} r USING (
    SELECT projection, version, leaf FROM {ranges} WHERE projection = %s AND version = %s AND count = 0
    ORDER BY projection, version, leaf FOR UPDATE
) w WHERE (r.projection, r.version, r.leaf) = (w.projection, w.version, w.leaf) AND r.count = 0
"""
RECOUNT = """
WITH changed AS (
    SELECT projection, version, left(encode(place, 'hex'), {digits}) AS leaf, 1 AS count,
           ('x' || encode(digest, 'hex'))::bit(256) AS delta
    FROM {views} WHERE projection = %s AND version = %s
)
""" + ADD_UP.partition("ON CONFLICT")[0]
