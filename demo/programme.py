"""The programme of the demo stations: slides of ``demo/slides``, and a text for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Station:
    """One demo station.

    :ivar login: the login in ``demo/stations.toml``.
    :ivar channel: the station's topics without their last part.
    :ivar items: for each item, the file name of its slide and its text.
    :ivar on_air: number of items that are sent before the station is silent for a while; None if it is never silent.
    """

    name: str
    login: str
    channel: str
    items: tuple[tuple[str, str], ...]
    on_air: int | None = None


STATIONS = (
    Station(
        "Rock FM",
        "1.rock",
        "/topic/fm/4e1/4000/09580/",
        (
            ("rock-1.png", "Now playing: Nine Volt Summer - Ember & Quarry"),
            ("rock-2.png", "Next at 20:00: The Garage Hour with Mika Dorn"),
            ("rock-3.png", "Louder? Pick the next song at wish.rock.example"),
        ),
    ),
    Station(
        "Klassik Weekend",
        "2.klassik",
        "/topic/dab/4e1/4a01/4b02/0/",
        (
            ("klassik-1.png", "Now playing: Serenade for a Quiet Lake - Elin Varga-Holm"),
            ("klassik-2.png", "Sunday 11:00: The Matinee, two hours of strings"),
            ("klassik-3.png", "Tonight 19:30: Organ Night, live from Lindenhall"),
        ),
    ),
    Station(
        "City Talk",
        "3.talk",
        "/topic/fm/4e1/4001/10410/",
        (
            ("talk-1.png", "On air: The Morning Desk. More trams, or more bikes?"),
            ("talk-2.png", "Next at 9:00: Street Kitchen with Oda Marsh"),
            ("talk-3.png", "Weather: 18 degrees today, and some clouds"),
        ),
        on_air=2,
    ),
)
