"""The event store: ports, appends, operations, reads of lanes and streams, history. No part of it speaks to AWS."""
