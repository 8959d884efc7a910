"""One file, one algorithm. The folder says what `adapt` returns."""
