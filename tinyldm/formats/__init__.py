"""Models on disk: the folders of diffusers, the single files of CompVis, and writing that leaves no half file.

Reading order, each file for those after it:

    files            atomic writes, and configurations that may be broken
    weights          tensors: reading, renaming, loading strictly
    refusals         models that are not Stable Diffusion 1, 2 or XL, refused by name
    diffusers_unet, diffusers_vae, text_encoders, tokenizers, schedulers    one folder of a model each
    folder           the whole model: what `LatentDiffusion.from_pretrained` opens and `save_pretrained` writes
    compvis_file     a single file: what `LatentDiffusion.from_single_file` opens
    lora_files       low-rank changes of a model: what `beyond.lora` reads and writes
    hub, places      where a model is: shipped, in a folder, or on the hub
"""
