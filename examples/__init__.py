"""Small applications on Hubbub, each in one file."""
