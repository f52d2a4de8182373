"""The HTTP API: what is taken and answered, and in which shape. What it does lies in `deployments.service`."""
