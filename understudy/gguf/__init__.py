"""
What is known of GGUF files, for both ways: exporters write them, and a base can be one.

    header      what a file lists, read without its weights
    families    the model families: one small file each
    layout      the tensors of a family, and their names in both formats
    weights     tensors out of safetensors files, a chunk at a time
    tokenizer   a tokenizer as llama.cpp wants it
"""
