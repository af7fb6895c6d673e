"""Several corpora, each annotated for some heads, as one stream of examples."""
