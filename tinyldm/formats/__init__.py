"""Models on disk: the folders of diffusers, the single files of CompVis, and writing that leaves no half file."""
