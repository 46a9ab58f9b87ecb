"""Do regions hold the same events? Compared by lane heads and by ranges of lanes, mended by copying, and forks listed
(docs/decisions/0021)."""
