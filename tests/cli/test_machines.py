"""Two machines that train together, here two processes: TF_CONFIG as Kubernetes operators set it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from tests.support.commands import replaced, start, succeed
from tests.support.networks import Net
from tests.support.workspace import CLASSES, HEIGHT, WIDTH


def spec_of(small: Path, folder: Path, batch_size: int) -> Path:
    """A float training of a few layers without batch norm, whose statistics each device would have for itself."""
    net = Net(HEIGHT, WIDTH)
    net.heads(net.relu("relu", net.conv("conv", net.input, 8, stride=4, bias=True)))
    model = folder / "start.tlt"
    save_model(model, Model(net.graph(), Labels(CLASSES)))
    path = folder / f"batch{batch_size}.txt"
    path.write_text(
        replaced(
            small.read_text(),
            (str(small.parents[1] / "small.tlt"), str(model)),
            ("enable_qat: true", ""),
            ("num_epochs: 5", "num_epochs: 3"),
            ("batch_size_per_gpu: 4", f"batch_size_per_gpu: {batch_size}"),
        )
    )
    return path


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_two_machines_do_what_one_does(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    spec, together = spec_of(small, tmp_path, 2), tmp_path / "together"
    processes = []
    for index in range(2):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}))
        processes.append(start("train", "-e", spec, "-r", together))
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    monkeypatch.delenv("TF_CONFIG")

    alone = tmp_path / "alone"
    succeed("train", "-e", spec_of(small, tmp_path, 4), "-r", alone)
    found, expected = (open_model(folder / "weights" / "model.tlt").graph.weights for folder in (together, alone))
    before = open_model(tmp_path / "start.tlt").graph.weights
    for name, array in expected.items():
        assert np.abs(array - before[name]).max() > 1e-4, name
        assert_allclose(found[name], array, atol=1e-5, err_msg=name)
    # One of them wrote, and everything once.
    events = [json.loads(line)["status"] for line in (together / "status.json").read_text().splitlines()]
    assert events == ["STARTED", *["RUNNING"] * 6, "SUCCESS"]
