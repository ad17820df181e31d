// Which lesson builds which piece. tests/web checks that the files exist.

const LESSONS = {
  tokens: ["09_context", "Context"],
  text_encoder: ["09_context", "Context"],
  context: ["09_context", "Context"],
  noise: ["02_forward_diffusion", "Forward diffusion"],
  unet: ["08_unet", "The U-Net"],
  Conv2d: ["08_unet", "The U-Net"],
  t_emb: ["06_resblock", "The ResBlock"],
  ResBlock: ["06_resblock", "The ResBlock"],
  Downsample: ["06_resblock", "The ResBlock"],
  Upsample: ["06_resblock", "The ResBlock"],
  SpatialTransformer: ["07_spatial_transformer", "The SpatialTransformer"],
  words: ["07_spatial_transformer", "The SpatialTransformer"],
  guidance: ["12_samplers_and_guidance", "Samplers and guidance"],
  sampler: ["03_reverse_diffusion", "Reverse diffusion"],
  prediction: ["03_reverse_diffusion", "Reverse diffusion"],
  decoder: ["05_autoencoder", "The autoencoder"],
  encoder: ["05_autoencoder", "The autoencoder"],
  clinic: ["16_clinic", "The clinic"],
  training: ["10_training", "Training"],
};

/** The lesson of a piece: {file, number, title}. */
export function lessonOf(piece) {
  const [file, title] = LESSONS[piece];
  return { file, number: file.slice(0, 2), title };
}
