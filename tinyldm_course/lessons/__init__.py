"""What the lessons use: plots, dials, the map of the model, the clinic, ablations, small photo VAEs."""
