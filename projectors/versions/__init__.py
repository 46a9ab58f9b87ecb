"""Versions of a projection: building one beside the other, switching readers, proving views equal."""
