"""The bundle: manifest, base.ptd, programs, tokenizer; writing, opening, verifying."""
