"""The `chaos` command."""
