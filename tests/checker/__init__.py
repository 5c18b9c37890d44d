"""Breaks servers and nodes at random while clients come and go, and judges what each of them was told."""
