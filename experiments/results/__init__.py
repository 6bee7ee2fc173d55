"""The ledger: one JSON file for each result, the page made from them, and commands that record a result and verify it."""
