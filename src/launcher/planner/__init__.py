"""Which model, placed how, with what settings: a pure function of the machine, the catalogue and the wish."""
