"""What the pages draw alike: a state as word, icon and colour; a list that keeps still when read."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from nicegui import ui

# By state of a stage or of a run: the icon, and what it means, which decides the colour.
STATES = {
    "live": ("check_circle", "good"),
    "stuck": ("warning", "wrong"),
    "down": ("power_settings_new", "off"),
    "waiting": ("schedule", "off"),
    "running": ("play_circle", "busy"),
    "trained": ("model_training", "busy"),
    "analyzed": ("check_circle", "good"),
    "failed": ("error", "wrong"),
    "cancelled": ("block", "off"),
}
OTHER = ("help", "off")


class StateMark(ui.element):
    """A state as a word with an icon in a colour: who cannot tell the colours apart misses nothing."""

    def __init__(self, state: str = ""):
        super().__init__("span")
        self.state = ""
        with self.classes("state"):
            self.icon = ui.icon("").props('aria-hidden="true"')
            self.word = ui.label()
        self.show(state)

    def show(self, state: str) -> None:
        if state != self.state:
            icon, meaning = STATES.get(state, OTHER)
            self.classes(remove=STATES.get(self.state, OTHER)[1], add=meaning)
            self.icon.name, self.word.text, self.state = icon, state, state


def heading(text: str) -> ui.element:
    """A heading within the page, which a reader that speaks jumps to."""
    label = ui.label(text).classes("heading")
    return label.props('role="heading" aria-level="2"')


class Shows(Protocol):
    """What is drawn of one thing, and brought up to date."""

    def show(self, thing: Any) -> None: ...

    def delete(self) -> None: ...


Key = TypeVar("Key")


class SteadyList(Generic[Key]):
    """A list whose entries keep their order, and neither come nor go while the pointer is on it.

    `make` draws an entry, which has `show` and `delete`.
    """

    def __init__(self, make: Callable[[], Shows], name: str = ""):
        self.make, self.entries = make, dict[Key, Shows]()
        self._held = False
        self.holder = ui.element("div").classes("list").props(f'aria-label="{name}"')
        self.holder.on("mouseenter", lambda: self._hold(True))
        self.holder.on("mouseleave", lambda: self._hold(False))

    def show(self, things: Mapping[Key, Any]) -> bool:
        """Show these; returns False if some could not come or go yet, and so are due again."""
        gone, new = self.entries.keys() - things.keys(), things.keys() - self.entries.keys()
        if not self._held:
            for key in gone:
                self.entries.pop(key).delete()
            with self.holder:
                self.entries |= {key: self.make() for key in things if key in new}
        for key in self.entries.keys() & things.keys():
            self.entries[key].show(things[key])
        return not (self._held and (gone or new))

    def _hold(self, held: bool) -> None:
        self._held = held
