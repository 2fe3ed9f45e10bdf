"""What is known of a run: its record, trials, the champion, the model card, publishing, finding a run."""
