"""The words everyone speaks: episodes, meta-learners, predictions, settings, chance, and the one task axis."""
