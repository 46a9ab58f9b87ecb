"""Event store: ports, appends, operations, reads of lanes and streams, history. Imports nothing that speaks to AWS."""
