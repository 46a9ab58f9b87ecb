"""Replication: links that copy events to other regions, and their drivers."""
