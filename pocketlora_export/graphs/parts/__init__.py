"""Parts that families build their blocks from. A part knows the names of its inputs and how to apply itself to them."""
