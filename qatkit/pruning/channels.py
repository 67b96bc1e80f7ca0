"""Which channels of a network must stay or go together.

Every tensor's channels are a row of segments; a segment belongs to a group. A convolution starts a group; layers
that work channel by channel hand their input's segments on; Concat joins rows. Element-wise layers unite the groups
of what they read, transitively: all blocks of a ResNet stage end in one group. A depthwise convolution belongs to
the group of what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Add, Concat, Conv2D, DepthwiseConv2D, Input, Multiply, Node


@dataclass(frozen=True)
class Segment:
    """`size` neighbouring channels that belong to `group`."""

    group: int
    size: int


Row = tuple[Segment, ...]


@dataclass(frozen=True)
class Member:
    """A stretch of a layer's filters, [start, start + size), that belongs to a group."""

    layer: str
    start: int
    size: int


@dataclass(frozen=True)
class ChannelGroups:
    """The result of `group_channels`.

    rows: node -> the segments of its output, with the final group ids. members: group -> the filters in it.
    fixed: group -> why none of its channels can go.
    """

    rows: dict[str, Row]
    members: dict[int, tuple[Member, ...]]
    fixed: dict[int, str]


def group_channels(graph: Graph, excluded: tuple[str, ...] = ()) -> ChannelGroups:
    """Group the channels of `graph`. The outputs' channels are fixed, and those of the nodes in `excluded`."""
    tracer = _Tracer()
    for node in graph.nodes:
        tracer.trace(graph, node)
    for name in graph.outputs:
        tracer.fix(name, f"output {name}")
    for name in excluded:
        tracer.fix(name, f"excluded {name}")
    return tracer.result()


class _Tracer:
    """Union-find over groups while it walks the nodes in order."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.rows: dict[str, Row] = {}
        self.members: dict[int, list[Member]] = {}
        self.reasons: dict[int, str] = {}

    def trace(self, graph: Graph, node: Node) -> None:
        inputs = [self.rows[name] for name in node.inputs]
        if isinstance(node, Input):
            row: Row = (self._new_group(node.shape[2]),)
            self.reasons[row[0].group] = "the image's channels"
        elif isinstance(node, Conv2D):
            row = (self._new_group(node.filters),)
            self.members[row[0].group] = [Member(node.name, 0, node.filters)]
        elif isinstance(node, Concat):
            row = tuple(segment for part in inputs for segment in part)
        elif isinstance(node, Add | Multiply):
            row = self._unite_rows(node, inputs)
        else:
            row = inputs[0]
        if isinstance(node, DepthwiseConv2D):
            for member, segment in _members(node.name, row):
                self.members.setdefault(segment.group, []).append(member)
        self.rows[node.name] = row

    def _new_group(self, size: int) -> Segment:
        self.parents.append(len(self.parents))
        return Segment(len(self.parents) - 1, size)

    def _unite_rows(self, node: Node, rows: list[Row]) -> Row:
        """Unite rows segment by segment; rows that are cut differently cannot be united and are fixed instead."""
        widest = max(rows, key=_width)
        for row in rows:
            # A single channel that is spread over all others (Multiply) goes its own way.
            if _width(row) != _width(widest):
                self._fix(row, f"spread over all channels by {node.name}")
            elif [segment.size for segment in row] == [segment.size for segment in widest]:
                for one, other in zip(widest, row):
                    self._unite(one.group, other.group)
            else:
                for differing in (row, widest):
                    self._fix(differing, f"concatenated in another way than what {node.name} joins it with")
        return widest

    def _find(self, group: int) -> int:
        while self.parents[group] != group:
            self.parents[group] = self.parents[self.parents[group]]
            group = self.parents[group]
        return group

    def _unite(self, one: int, other: int) -> None:
        one, other = self._find(one), self._find(other)
        # The older group's number stands for both, so that numbers do not depend on the order of uniting.
        self.parents[max(one, other)] = min(one, other)

    def fix(self, name: str, reason: str) -> None:
        self._fix(self.rows[name], reason)

    def _fix(self, row: Row, reason: str) -> None:
        for segment in row:
            self.reasons.setdefault(segment.group, reason)

    def result(self) -> ChannelGroups:
        members: dict[int, list[Member]] = {}
        for group, found in self.members.items():
            members.setdefault(self._find(group), []).extend(found)
        fixed: dict[int, str] = {}
        for group, reason in sorted(self.reasons.items()):
            fixed.setdefault(self._find(group), reason)
        rows = {
            name: tuple(Segment(self._find(segment.group), segment.size) for segment in row)
            for name, row in self.rows.items()
        }
        return ChannelGroups(rows, {group: tuple(found) for group, found in members.items()}, fixed)


def _width(row: Row) -> int:
    return sum(segment.size for segment in row)


def _members(layer: str, row: Row) -> Iterator[tuple[Member, Segment]]:
    start = 0
    for segment in row:
        yield Member(layer, start, segment.size), segment
        start += segment.size
