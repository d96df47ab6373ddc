"""The table of the attack on CIFAR-10: one factor at a time, with controls, from a command."""
