from pathlib import Path
SCHEMA_VERSION = 1
DATABASE_FILE = Path(__file__).resolve().parents[2] / 'data' / 'profiles' / 'layers.json'
