"""The recipe of a teacher's talks: questions from a talk, then answers to all of them."""
