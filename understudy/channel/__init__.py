"""What a channel remembers: the ledger of its talks, decisions of people, imported captions, forgetting a talk."""
