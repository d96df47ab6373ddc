"""The attack of arXiv 2504.21323: triggers, perturbations through them, a poisoned image set."""
