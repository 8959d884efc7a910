"""Methods whose adapting is one pass of an encoder: the support becomes a code, or the weights of the learner."""
