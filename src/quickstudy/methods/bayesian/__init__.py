"""Methods whose `adapt` returns a distribution: of functions, of weights, or several learners at once."""
