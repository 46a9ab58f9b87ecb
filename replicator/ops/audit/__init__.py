"""Audit: do regions hold the same events? Compares lane heads and ranges of lanes (Merkle summaries), repairs by copying
(anti-entropy), and lists forks (docs/decisions/0021)."""
