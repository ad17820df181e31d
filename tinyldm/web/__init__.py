"""The live page: a model as ONNX files, and the static site that runs it in a browser."""
