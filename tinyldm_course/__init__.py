"""The course around tinyldm: what only lessons, exercises and grading need. It imports tinyldm, never the reverse."""
