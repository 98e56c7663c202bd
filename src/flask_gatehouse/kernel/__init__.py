"""The ground floor: settings, keys, time, tables and the database. Nothing here knows a user flow."""
