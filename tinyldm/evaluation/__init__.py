"""How good a model is: a judge network that reads pictures, and the numbers with their uncertainty."""
