"""How good a policy is: figures with fixed definitions."""
