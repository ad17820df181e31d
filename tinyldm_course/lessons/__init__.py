"""What the lessons show and use: plots, dials, the map of the model, the clinic, ablations, small photo VAEs."""
