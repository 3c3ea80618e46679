"""Tokens and coordinates of hidden states that are far larger than others: found and listed."""
