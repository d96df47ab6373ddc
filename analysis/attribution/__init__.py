"""Which pixels make a model, or a pair of models, answer as it does."""
