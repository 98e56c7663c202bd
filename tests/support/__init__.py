"""What tests rest on: real servers, a browser, a visitor over HTTP."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "flask_gatehouse"
