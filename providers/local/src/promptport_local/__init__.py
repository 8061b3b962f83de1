"""The llama.cpp in the process provider of promptport."""
