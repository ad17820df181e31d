"""What the model is trained on: procedural scenes, handwritten digits, and folders of pictures with captions."""
