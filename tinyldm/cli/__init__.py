"""The command `tinyldm`."""
