"""Pure core: names, clock, version vector, event and digest chain. Imports no AWS, reads no clock, does no I/O."""
