import sys
from pathlib import Path

# The one GGUF writer lives with the scripts that use it.
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))
