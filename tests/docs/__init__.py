"""The site of docs/: what its pages say is so, and what they show runs."""
