"""Plans that are shipped: `foothold run NAME` reads NAME.toml from here."""
