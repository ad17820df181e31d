"""How an answer is checked: its calls, the comparison, the diagnosis, and what the learner reads of it."""
