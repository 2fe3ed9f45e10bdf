"""Words, sentences, markdown, similarity and style of texts, without a model."""
