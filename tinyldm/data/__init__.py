"""What the model is trained on: the procedural scenes, and two real sources beside them."""
