"""Wire formats: codecs over the same core."""
