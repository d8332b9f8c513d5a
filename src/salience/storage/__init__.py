"""How things lie on disk: formats, parts that are written one by one, checkpoints, and what is kept out of them."""
