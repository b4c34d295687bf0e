"""The shield: stands before llama-server, passes everything through, and mends the turns that its parser drops."""
