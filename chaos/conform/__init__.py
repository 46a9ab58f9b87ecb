"""Conformance: what Meridian relies on, asked of an endpoint that speaks AWS's protocols. docs/decisions/0039."""
