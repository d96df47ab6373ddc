"""A zoo of honest and planted students, and what the audit says of every one of them."""
