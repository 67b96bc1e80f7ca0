"""JSON files that others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qatkit.dataset.paths import check_regular
from qatkit.errors import DataError


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Raises DataError with line and column where it is no JSON.
    """
    check_regular(path)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read this file: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DataError(f"{path}: not JSON: no text in UTF-8 or UTF-16") from None
    except json.JSONDecodeError as error:
        ends = "; the file ends there" if error.pos >= len(error.doc.rstrip()) else ""
        raise DataError(f"{path}: not JSON: line {error.lineno} column {error.colno} cannot be read{ends}") from None
    except ValueError:  # Python's limit of 4300 digits
        raise DataError(f"{path}: cannot read this JSON file: a number with thousands of digits") from None
    except RecursionError:
        raise DataError(f"{path}: cannot read this JSON file: lists or objects nested too deep") from None
