"""Looking for a backdoor that nobody told us about, and saying how sure we are."""
