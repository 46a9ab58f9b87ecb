"""Operations: comparison and repair of regions, runbooks, status, traffic steering."""
