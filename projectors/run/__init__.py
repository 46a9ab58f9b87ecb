"""The projector and its drivers."""
