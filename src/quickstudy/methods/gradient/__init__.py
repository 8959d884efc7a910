"""Methods whose `adapt` returns changed weights."""
