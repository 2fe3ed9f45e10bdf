"""From measurements to words: statistics, verdicts, preferences of people, refused files, suites."""
