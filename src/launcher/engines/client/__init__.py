"""Parts of the HTTP engine: addresses, the wire, events, requests, answers and what their failures mean."""
