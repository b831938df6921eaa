"""The site is built of docs/ without a warning, stands alone, and asks no other host for anything."""
