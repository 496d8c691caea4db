"""Writers on the connections of each driver: each in its own file, imported when such a connection is given."""
