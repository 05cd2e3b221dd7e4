"""A power loss at any moment loses nothing that was done and leaves nothing half-written.

The system calls of a stage are replayed on a model of a disk that keeps only what POSIX promises:
what was written is safe once its file was flushed, a name once its folder was. At each moment, each
choice of what else the disk may have kept is laid out as a data folder, and the stage started on it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prove import Result, some, tried, warm
from prove.account import is_passing
from prove.scenes import CHECKPOINT, FIRST, RUN, SCENES, Prepared, prepared
from prove.system_calls import Call, need_strace

MOST_CHOICES = 64  # at one moment; of more, those that differ in one thing from all or from nothing

Tree = dict[str, bytes | None]  # the content of each file by its path; None for a folder


@dataclass(frozen=True)
class State:
    """What the disk of `scene` may hold after a power loss."""

    scene: Prepared
    what: str
    tree: Tree


def prove(full: bool) -> Result:
    need_strace()
    scenes = SCENES if full else (FIRST, RUN, CHECKPOINT)
    states = [state for scene in prepared(*scenes) for state in some(list(_states(scene)), full, 8)]
    figure = "{tried} states of a disk after a power loss, {broken} violations"
    return tried(_violation, states, figure, warm.each)


def _violation(state: State) -> str | None:
    scene = state.scene
    with scene.copy() as folder:
        _lay_out(state.tree, folder / "data")
        problems = scene.torn_in(folder) + scene.ends_otherwise(folder)
    return f"{scene.scene.name}, {state.what}: {'; '.join(problems)}" if problems else None


def _states(scene: Prepared) -> Iterator[State]:
    """Each state that may be found after a power loss, once."""
    disk = Disk(scene.folder / "template" / "data", scene.folder / "undisturbed" / "data")
    seen = set()
    for number, call in enumerate(scene.calls(), start=1):
        if call.result < 0 or not call.changes or is_passing(call.paths[0]):
            continue
        disk.apply(call)
        for lost, tree in disk.after_power_loss():
            key = hash(frozenset(tree.items()))
            if key not in seen:
                seen.add(key)
                yield State(scene, f"lost after call {number} ({call.name}): {lost}", tree)
    if disk.tree() != _tree(scene.folder / "undisturbed" / "data"):
        raise RuntimeError(f"{scene.scene.name}: its system calls do not explain its files")


@dataclass(eq=False)
class Change:
    """A name that came, went or changed in a folder."""

    old: str | None
    new: str | None
    node: int

    def apply(self, names: dict[str, int]) -> None:
        if self.old:
            names.pop(self.old, None)
        if self.new:
            names[self.new] = self.node

    def __str__(self) -> str:
        return f"{self.old or 'nothing'} -> {self.new or 'nothing'}"


@dataclass
class File:
    content: bytes = b""
    safe: bytes = b""

    def possible(self) -> list[bytes]:
        """All of it, half of what is new, zeros in its place, or only what is safe."""
        pairs = enumerate(zip(self.safe, self.content, strict=False))
        shorter = min(len(self.safe), len(self.content))
        old = next((place for place, (a, b) in pairs if a != b), shorter)
        new = len(self.content) - old
        half, zeros = self.content[: old + new // 2], self.content[:old] + bytes(new)
        return [self.content, *([half, zeros] if new else []), self.safe]


@dataclass
class Folder:
    safe: dict[str, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def names(self, kept: list[Change] | None = None) -> dict[str, int]:
        names = dict(self.safe)
        for change in self.changes if kept is None else kept:
            change.apply(names)
        return names


class Disk:
    """The files of `template`, then what calls on `place` did to them: what is safe and what is not."""

    def __init__(self, template: Path, place: Path):
        self.place = place
        self.nodes: list[File | Folder] = [Folder()]
        for path, content in _tree(template).items():
            folder, name = self._folder(str(place / path))
            folder.safe[name] = len(self.nodes)
            self.nodes.append(Folder() if content is None else File(content, content))

    def apply(self, call: Call) -> None:
        path = call.paths[0]
        match call.name.removesuffix("at2").removesuffix("at"):
            case "open":
                self._open(path, call)
            case "write":
                node = self._node(path)
                node.content += call.content[: call.result]
            case "ftruncate" | "truncate":
                node = self._node(path)
                node.content = node.content[: int(call.arguments.rpartition(",")[2])]
            case "fsync" | "fdatasync":
                self._flush(self._node(path))
            case "mkdir":
                self._change(path, Folder())
            case "unlink" | "rmdir":
                folder, name = self._folder(path)
                folder.changes.append(Change(name, None, -1))
            case "rename":
                folder, name = self._folder(path)
                target, new_name = self._folder(call.paths[1])
                if folder is not target:
                    raise NotImplementedError("a rename between folders")
                folder.changes.append(Change(name, new_name, folder.names()[name]))
            case _:
                raise NotImplementedError(call.name)

    def after_power_loss(self) -> Iterator[tuple[str, Tree]]:
        """What was lost, and what is there, for each choice of what the disk kept."""
        unsafe = [change for node in self._folders() for change in node.changes]
        files = [
            node for node in self.nodes if isinstance(node, File) and node.content != node.safe
        ]
        choices = [[True, False]] * len(unsafe) + [file.possible() for file in files]
        for choice in _combinations(choices):
            kept = [change for change, keep in zip(unsafe, choice, strict=False) if keep]
            contents = dict(zip(map(id, files), choice[len(unsafe) :], strict=True))
            lost = [str(change) for change in unsafe if change not in kept]
            lost += [
                f"{len(file.content)} bytes" for file in files if contents[id(file)] != file.content
            ]
            yield ", ".join(lost) or "nothing", self.tree(kept, contents)

    def tree(
        self, kept: list[Change] | None = None, contents: dict[int, bytes] | None = None
    ) -> Tree:
        """All files, or those there are if only the changes `kept` and these `contents` were kept."""
        found: Tree = {}

        def walk(folder: Folder, where: str) -> None:
            mine = [change for change in folder.changes if kept is None or change in kept]
            for name, number in folder.names(mine).items():
                node = self.nodes[number]
                if isinstance(node, Folder):
                    found[where + name] = None
                    walk(node, f"{where}{name}/")
                else:
                    found[where + name] = (contents or {}).get(id(node), node.content)

        walk(self.nodes[0], "")
        return found

    def _folders(self) -> list[Folder]:
        return [node for node in self.nodes if isinstance(node, Folder)]

    def _node(self, path: str) -> File | Folder:
        node = self.nodes[0]
        for name in Path(path).relative_to(self.place).parts:
            node = self.nodes[node.names()[name]]
        return node

    def _folder(self, path: str) -> tuple[Folder, str]:
        return self._node(str(Path(path).parent)), Path(path).name

    def _open(self, path: str, call: Call) -> None:
        folder, name = self._folder(path)
        if name not in folder.names():
            self._change(path, File())
        elif "O_TRUNC" in call.arguments:
            self._node(path).content = b""

    def _change(self, path: str, node: File | Folder) -> None:
        folder, name = self._folder(path)
        folder.changes.append(Change(None, name, len(self.nodes)))
        self.nodes.append(node)

    def _flush(self, node: File | Folder) -> None:
        if isinstance(node, File):
            node.safe = node.content
        else:
            node.safe, node.changes = node.names(), []


def _combinations(choices: list[list]) -> Iterator[tuple]:
    """One of each: all combinations, or, of too many, those next to all and next to nothing kept."""
    number = 1
    for choice in choices:
        number *= len(choice)
    if number <= MOST_CHOICES:
        yield from itertools.product(*choices)
        return
    for rest in (0, -1):
        usual = [choice[rest] for choice in choices]
        yield tuple(usual)
        for place, choice in enumerate(choices):
            for other in choice:
                yield (*usual[:place], other, *usual[place + 1 :])


def _tree(folder: Path) -> Tree:
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not is_passing(path)
    }


def _lay_out(tree: Tree, folder: Path) -> None:
    """Make `folder` hold `tree`; what is there already keeps its time."""
    there = _tree(folder)
    for path in sorted(set(there) - set(tree), reverse=True):
        (folder / path).rmdir() if there[path] is None else (folder / path).unlink()
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir(exist_ok=True)
        elif there.get(path) != content:
            (folder / path).write_bytes(content)
