"""From noise to latents: the grid of sigmas, the solvers that walk it, and the loop that asks the DiT."""
