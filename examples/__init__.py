"""Worked examples, each run by a test."""
