"""Regenerate qatkit/spec/generated from the .proto files: `python protos/generate.py [output folder]`.

Needs grpcio-tools (in the `dev` extra). The modules do not depend on protoc's version: its version number and the
check that refuses an older protobuf runtime are taken out, since all they do is hand a serialized descriptor to the
runtime, a call that every runtime we support has.
"""

from __future__ import annotations

import re
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
# The folder under which the .proto files import each other: it makes protoc write absolute Python imports, and keeps
# common names such as `experiment.proto` unique in the process-wide descriptor pool.
PACKAGE = "qatkit/spec/generated"
_VERSION_CHECK = re.compile(
    r"^# NO CHECKED-IN PROTOBUF GENCODE\n"
    r"|^# Protobuf Python Version: .*\n"
    r"|^from google\.protobuf import runtime_version as _runtime_version\n"
    r"|^_runtime_version\.ValidateProtobufRuntimeVersion\([^)]*\)\n",
    re.MULTILINE,
)


def generate(root: Path) -> list[Path]:
    """Write a module and its type stub per .proto file under `root`/qatkit/spec/generated; return the modules.

    Raises SystemExit when protoc refuses a file (its own message is on standard error).
    """
    sources = sorted(PROTOS.glob("*.proto"))
    folder = root / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ["protoc", f"-I{PACKAGE}={PROTOS}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    outputs = [f"--python_out={root}", f"--pyi_out={root}"]
    if protoc.main([*arguments, *outputs, *(f"{PACKAGE}/{source.name}" for source in sources)]):
        raise SystemExit("protoc failed")
    modules = [folder / f"{source.stem}_pb2.py" for source in sources]
    for module in modules:
        module.write_text(_VERSION_CHECK.sub("", module.read_text("utf-8")), "utf-8")
    return modules


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTOS.parent)
