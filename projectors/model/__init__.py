"""Declarations of projections: fields, and the views that they make. Pure."""
