"""What a projection is: its fields, and the views that they make. Pure."""
