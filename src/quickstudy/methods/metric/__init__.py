"""Methods whose `adapt` returns an embedded support or a closed-form head."""
