"""Drives: what the joints' motors make of the policy's actions."""
