"""Methods whose learner is a state: what a net remembers of a support that it has read once."""
