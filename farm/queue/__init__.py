"""Online jobs: what was asked for by whom, how far it is, and the order in which it is made. Storage is the truth."""
