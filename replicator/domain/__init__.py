"""The pure core: names, clock, version vector, event and digest chain. It imports no AWS, reads no clock, does no I/O."""
