"""The wire, held to its description and its byte vectors in spec/."""
