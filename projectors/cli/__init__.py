"""The `projectors` command."""
