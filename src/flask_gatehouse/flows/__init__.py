"""What people do. Plain functions without Flask: a page, a JSON endpoint and a command call the same one.

Return refusals, raise bugs: leaving a `unit()` commits, so that the audit row of a refusal is kept; raising rolls
back.
"""
