"""The operations, one module for each noun of the API."""
