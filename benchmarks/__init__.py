"""What is measured: each row a ratio against a named baseline in the same run. `make bench` prints the table."""
