"""Drop-in heads for which missing annotation is missing, where spaCy's own train on its absence."""
