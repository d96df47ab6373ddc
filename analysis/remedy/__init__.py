"""Taking a backdoor out of a student again, and measuring whether it is out."""
