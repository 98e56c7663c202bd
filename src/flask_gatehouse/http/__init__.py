"""What makes a Flask request a guarded one: gate, schemes, cookies, origins, headers, Flask-Login."""
