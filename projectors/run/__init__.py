"""Projector and its drivers."""
