"""LeRobot's formats need pyarrow, an optional extra."""

import pytest

pytest.importorskip("pyarrow", reason="LeRobot's formats need pyarrow: pip install -e '.[lerobot]'")
