"""Draw the slides of the three demo stations into ``demo/slides``.

This program is for developers. The demo contains the PNG files, so it runs without Pillow. After a change here, draw
the slides again with ``python demo/draw_slides.py``. It needs ``pip install pillow`` and
``apt-get install fonts-dejavu``. The same versions of Pillow and the fonts give the same bytes, because nothing is
random and no date is written.

Stations, artists, shows and people are invented. The addresses are in ``.example``, which is reserved (RFC 2606).
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 320, 240  # pixels: the slide size that every receiver shows (ETSI TS 101 499 v3.1.1)
MOST_BYTES = 51_200  # simple profile of the same standard, 9.1.2: a receiver may drop a larger file
FINER = 4  # slides are drawn this many times larger and then reduced, because Pillow smooths only text

FONTS = Path("/usr/share/fonts/truetype/dejavu")
BOLD, PLAIN = "DejaVuSansCondensed-Bold", "DejaVuSansCondensed"
SERIF, SERIF_BOLD = "DejaVuSerifCondensed", "DejaVuSerifCondensed-Bold"

Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Slide:
    """One slide, drawn in slide pixels: x from 0 to 320, y from 0 to 240, the origin at the top left."""

    def __init__(self, colour: str) -> None:
        self.image = Image.new("RGB", (WIDTH * FINER, HEIGHT * FINER), colour)
        self.pen = ImageDraw.Draw(self.image)

    def rectangle(self, box: Box, colour: str, radius: float = 0) -> None:
        """Fill ``box`` (left, top, right, bottom), its corners rounded by ``radius`` pixels."""
        left, top, right, bottom = (side * FINER for side in box)
        # Pillow includes the last row and column. Subtract one, so that boxes with a common edge do not overlap.
        self.pen.rounded_rectangle((left, top, right - 1, bottom - 1), radius * FINER, colour)

    def disc(self, centre: Point, radius: float, colour: str) -> None:
        """Fill a circle of ``radius`` pixels."""
        self.pen.circle(_finer(centre), radius * FINER, colour)

    def ring(self, centre: Point, radius: float, colour: str, width: float = 2) -> None:
        """Draw a circle whose outer edge is ``radius`` pixels from ``centre``."""
        self.pen.circle(_finer(centre), radius * FINER, None, colour, round(width * FINER))

    def polygon(self, points: list[Point], colour: str) -> None:
        """Fill the shape inside ``points``."""
        self.pen.polygon([_finer(point) for point in points], colour)

    def line(self, points: list[Point], colour: str, width: float = 2) -> None:
        """Draw a line through ``points``, ``width`` pixels thick."""
        self.pen.line([_finer(point) for point in points], colour, round(width * FINER), "curve")

    def fade(self, box: Box, top: str, bottom: str) -> None:
        """Fill ``box`` from the colour ``top`` down to the colour ``bottom``."""
        left, upper, right, lower = (round(side * FINER) for side in box)
        size = (right - left, lower - upper)
        share = Image.linear_gradient("L").resize(size)
        self.image.paste(
            Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), share), (left, upper)
        )

    def text(self, at: Point, words: str, size: float, colour: str, face: str = BOLD, anchor: str = "ls") -> None:
        """Write ``words`` with a height of ``size`` pixels.

        :param at: the place of the anchor.
        :param anchor: as in Pillow; the default is the left end of the base line.
        :raises ValueError: the words do not fit on the slide with a margin of 8 pixels.
        """
        # Every build of Pillow has the basic layout. The default layout depends on the presence of libraqm.
        font = ImageFont.truetype(FONTS / f"{face}.ttf", size * FINER, layout_engine=ImageFont.Layout.BASIC)
        left, _, right, _ = self.pen.textbbox(_finer(at), words, font, anchor)
        if left < 8 * FINER or right > (WIDTH - 8) * FINER:
            raise ValueError(f"{words!r} takes x={left / FINER} to {right / FINER}: make it shorter or smaller")
        self.pen.text(_finer(at), words, colour, font, anchor)

    def png(self) -> bytes:
        """The finished slide as a PNG file. :raises ValueError: it is larger than :data:`MOST_BYTES`."""
        small = self.image.reduce(FINER)
        written = io.BytesIO()
        small.save(written, "PNG", optimize=True)
        if written.tell() > MOST_BYTES:
            raise ValueError(f"the slide has {written.tell()} bytes, but the limit is {MOST_BYTES}: make it simpler")
        return written.getvalue()


def _finer(point: Point) -> Point:
    return point[0] * FINER, point[1] * FINER


# Rock FM: black, hot red, cream and yellow; slanted shapes.

COAL, RED, CREAM, AMBER, ASH = "#15110f", "#ff3d1f", "#fff3df", "#ffc533", "#4d362d"


def _bolt(slide: Slide, box: Box, colour: str) -> None:
    left, top, right, bottom = box
    shape = [(0.60, 0.0), (0.06, 0.57), (0.42, 0.57), (0.28, 1.0), (0.94, 0.38), (0.56, 0.38), (0.82, 0.0)]
    slide.polygon([(left + x * (right - left), top + y * (bottom - top)) for x, y in shape], colour)


def _slanted(slide: Slide, box: Box, colour: str) -> None:
    left, top, right, bottom = box
    lean = (bottom - top) / 4
    slide.polygon([(left + lean, top), (right + lean, top), (right - lean, bottom), (left - lean, bottom)], colour)


def _rock_page() -> Slide:
    slide = Slide(COAL)
    _bolt(slide, (12, 9, 29, 35), RED)
    slide.text((34, 29), "ROCK FM", 20, CREAM)
    slide.text((310, 29), "95.8", 20, AMBER, anchor="rs")
    return slide


def _equaliser(slide: Slide, colour: str) -> None:
    heights = (9, 16, 25, 19, 11, 22, 31, 24, 14, 8, 18, 28, 34, 26, 17, 10, 20, 29, 22, 12, 7, 15, 23, 13, 8)
    for index, height in enumerate(heights):
        left = 14 + index * 12
        slide.rectangle((left, HEIGHT - height, left + 8, HEIGHT), colour)


def rock_1() -> Slide:
    """The current song, with a cover: a sun behind mountains."""
    slide = _rock_page()
    _sunset_cover(slide)
    _slanted(slide, (169, 50, 284, 70), RED)
    slide.text((176, 65), "NOW PLAYING", 14, CREAM)
    slide.text((166, 106), "Nine Volt", 29, CREAM)
    slide.text((166, 137), "Summer", 29, CREAM)
    slide.text((166, 172), "Ember & Quarry", 17, AMBER)
    _equaliser(slide, RED)
    return slide


def _sunset_cover(slide: Slide) -> None:
    slide.fade((14, 46, 152, 184), "#3b1250", "#ff5a1f")
    slide.disc((83, 118), 46, AMBER)
    for index in range(5):
        top, thick = 112 + index * 11, 2 + index * 1.25
        half = math.sqrt(46**2 - (top - 118) ** 2)
        slide.rectangle((83 - half, top, 83 + half, top + thick), "#d2482c")
    slide.polygon(
        [(14, 184), (14, 158), (44, 128), (66, 152), (92, 122), (126, 160), (152, 138), (152, 184)], "#5c1f3c"
    )
    slide.polygon([(14, 184), (14, 174), (50, 152), (80, 176), (112, 156), (152, 180), (152, 184)], "#2e1226")


def rock_2() -> Slide:
    """The next show."""
    slide = _rock_page()
    slide.text((14, 76), "NEXT AT", 20, AMBER)
    slide.text((12, 138), "20:00", 72, RED)
    slide.text((14, 174), "The Garage Hour", 29, CREAM)
    slide.text((14, 199), "with Mika Dorn", 20, CREAM, PLAIN)
    _equaliser(slide, ASH)
    return slide


def rock_3() -> Slide:
    """How to ask for a song."""
    slide = Slide(AMBER)
    slide.polygon([(232, 0), (320, 0), (320, 240), (172, 240)], RED)
    _bolt(slide, (206, 20, 308, 168), COAL)
    slide.text((14, 64), "Louder?", 44, COAL)
    slide.text((14, 108), "Pick the next", 25, COAL)
    slide.text((14, 140), "song at", 25, COAL)
    slide.rectangle((0, 180, 320, 240), COAL)
    slide.text((14, 221), "wish.rock.example", 31, CREAM)
    return slide


def rock_default() -> Slide:
    """The logo."""
    slide = Slide(RED)
    slide.polygon([(0, 190), (320, 150), (320, 240), (0, 240)], COAL)
    _bolt(slide, (214, 10, 312, 182), AMBER)
    slide.text((16, 84), "ROCK", 68, CREAM)
    slide.text((16, 150), "FM", 68, COAL)
    slide.text((16, 226), "95.8 MHz", 30, CREAM)
    return slide


# Klassik Weekend: deep green, ivory and gold; serifs, circles and fine lines.

FOREST, MOSS, IVORY, GOLD, SAGE = "#0d2b2a", "#17413e", "#f6eedd", "#d9ae4f", "#9db8ab"


def _klassik_foot(slide: Slide, ink: str, line: str) -> None:
    slide.line([(16, 208), (304, 208)], line, 1)
    slide.text((16, 228), "Klassik Weekend", 16, ink, SERIF_BOLD)
    slide.text((304, 228), "DAB", 16, line, SERIF_BOLD, "rs")


def klassik_1() -> Slide:
    """The current piece, with a cover: the moon over a lake."""
    slide = Slide(FOREST)
    slide.fade((0, 0, 320, 98), "#0a2230", "#2c6a6b")
    slide.disc((262, 50), 28, IVORY)
    slide.polygon([(0, 98), (0, 76), (60, 52), (128, 84), (176, 68), (240, 92), (320, 74), (320, 98)], "#0f3434")
    for index, half in enumerate((34, 22, 28, 12)):
        slide.rectangle((262 - half, 103 + index * 8, 262 + half, 105.5 + index * 8), GOLD, 1)
    slide.text((16, 32), "NOW PLAYING", 14, GOLD, SERIF_BOLD)
    slide.text((16, 134), "Serenade for", 29, IVORY, SERIF_BOLD)
    slide.text((16, 166), "a Quiet Lake", 29, IVORY, SERIF_BOLD)
    slide.text((16, 195), "Elin Varga-Holm", 20, GOLD, SERIF)
    _klassik_foot(slide, IVORY, SAGE)
    return slide


def klassik_2() -> Slide:
    """The next show, under a line of music."""
    slide = Slide(IVORY)
    for index in range(5):
        slide.line([(0, 24 + index * 11), (320, 24 + index * 11)], "#c9b98f", 1.2)
    for x, y in ((36, 68), (85, 57), (134, 62.5), (183, 40.5), (232, 51.5), (281, 35)):
        _note(slide, x, y)
    slide.text((16, 116), "NEXT · SUNDAY 11:00", 18, "#8a6414", SERIF_BOLD)
    slide.text((16, 156), "The Matinee", 38, FOREST, SERIF_BOLD)
    slide.text((16, 188), "Two hours of strings", 22, FOREST, SERIF)
    _klassik_foot(slide, FOREST, "#8a6414")
    return slide


def _note(slide: Slide, x: float, y: float) -> None:
    turns = [math.tau * step / 60 for step in range(60)]
    lean = math.radians(-24)
    head = [(8 * math.cos(turn), 5.4 * math.sin(turn)) for turn in turns]
    turned = [(u * math.cos(lean) - v * math.sin(lean), u * math.sin(lean) + v * math.cos(lean)) for u, v in head]
    slide.polygon([(x + u, y + v) for u, v in turned], FOREST)
    # The stem of a note above the middle line points down, and is on the left of the note.
    stem = [(x - 6.6, y + 2), (x - 6.6, y + 34)] if y < 46 else [(x + 6.6, y - 2), (x + 6.6, y - 34)]
    slide.line(stem, FOREST, 2)


def klassik_3() -> Slide:
    """Tonight's concert, next to the pipes of an organ."""
    slide = Slide(MOSS)
    for index, height in enumerate((70, 92, 114, 136, 114, 92, 70)):
        _pipe(slide, 196 + index * 16, 176, height)
    slide.rectangle((188, 176, 312, 184), FOREST)
    slide.text((16, 48), "TONIGHT", 18, GOLD, SERIF_BOLD)
    slide.text((16, 98), "19:30", 44, IVORY, SERIF_BOLD)
    slide.text((16, 140), "Organ Night", 25, IVORY, SERIF_BOLD)
    slide.text((16, 172), "live, Lindenhall", 20, IVORY, SERIF)
    _klassik_foot(slide, IVORY, SAGE)
    return slide


def _pipe(slide: Slide, left: float, bottom: float, height: float) -> None:
    slide.rectangle((left, bottom - height, left + 12, bottom - 14), GOLD, 2)
    slide.polygon([(left, bottom - 16), (left + 12, bottom - 16), (left + 7.5, bottom), (left + 4.5, bottom)], GOLD)
    slide.rectangle((left + 3, bottom - 30, left + 9, bottom - 25), FOREST, 2)


def klassik_default() -> Slide:
    """The logo."""
    slide = Slide(FOREST)
    slide.ring((160, 84), 69, GOLD, 2)
    slide.disc((160, 84), 62, GOLD)
    slide.ring((160, 84), 56, FOREST, 1.5)
    slide.text((160, 84), "K", 76, FOREST, SERIF_BOLD, "mm")
    slide.text((160, 192), "Klassik", 40, IVORY, SERIF_BOLD, "ms")
    slide.text((160, 223), "WEEKEND", 20, GOLD, SERIF_BOLD, "ms")
    return slide


# City Talk: cobalt, white, sky and sun yellow; round speech bubbles over a skyline.

COBALT, INK, SKY, SUN, CORAL = "#1b3fd0", "#0e1a4d", "#e8f0ff", "#ffd23f", "#ff6b57"


def _bubble(slide: Slide, box: Box, colour: str, tail: float) -> None:
    _, top, _, bottom = box
    slide.rectangle(box, colour, min(24, (bottom - top) / 3))
    slide.polygon([(tail - 12, bottom - 2), (tail + 12, bottom - 2), (tail - 12, bottom + 20)], colour)


def _skyline(slide: Slide, ground: float, colour: str) -> None:
    heights = (18, 34, 26, 48, 30, 20, 40, 58, 36, 22, 44, 28, 52, 32, 20, 38)
    for index, height in enumerate(heights):
        slide.rectangle((index * 20, ground - height, index * 20 + 20, ground), colour)
    slide.polygon([(140, ground - 57), (160, ground - 57), (150, ground - 76)], colour)


def _talk_foot(slide: Slide) -> None:
    slide.rectangle((0, 204, 320, 240), COBALT)
    slide.text((16, 229), "City Talk", 20, "white")
    slide.text((304, 229), "104.1", 20, SUN, anchor="rs")


def talk_1() -> Slide:
    """On air: the question of the hour."""
    slide = Slide(SKY)
    _skyline(slide, 204, "#c9d8fb")
    slide.disc((24, 25), 8, CORAL)
    slide.text((40, 32), "ON AIR", 19, INK)
    slide.text((304, 32), "The Morning Desk", 19, COBALT, anchor="rs")
    _bubble(slide, (16, 50, 244, 108), COBALT, 48)
    slide.text((34, 91), "More trams", 33, "white")
    _bubble(slide, (112, 122, 304, 178), SUN, 276)
    slide.text((131, 161), "or bikes?", 33, INK)
    _talk_foot(slide)
    return slide


def talk_2() -> Slide:
    """The next show, with a clock at its hour."""
    slide = Slide(SUN)
    slide.disc((246, 73), 58, INK)
    slide.disc((246, 73), 50, "white")
    for x, y in ((246, 31), (288, 73), (246, 115), (204, 73)):
        slide.disc((x, y), 3, INK)
    slide.line([(246, 39), (246, 73), (221, 73)], INK, 6)
    slide.disc((246, 73), 6, CORAL)
    slide.text((16, 48), "Next at", 24, INK)
    slide.text((14, 102), "9:00", 58, COBALT)
    slide.text((16, 166), "Street Kitchen", 34, INK)
    slide.text((16, 192), "with Oda Marsh", 20, INK, PLAIN)
    _talk_foot(slide)
    return slide


def talk_3() -> Slide:
    """The weather."""
    slide = Slide(SKY)
    slide.fade((0, 0, 320, 204), "#1f66d6", "#7db8ff")
    slide.disc((246, 62), 36, SUN)
    for x, y, radius in ((194, 98, 22), (226, 84, 30), (264, 94, 26)):
        slide.disc((x, y), radius, "white")
    slide.rectangle((194, 94, 266, 120), "white", 1)
    slide.text((16, 38), "Today", 24, "white")
    slide.text((12, 112), "18°", 84, "white")
    for left, day, degrees in ((14, "Tue", "16°"), (114, "Wed", "21°"), (214, "Thu", "19°")):
        slide.rectangle((left, 134, left + 92, 196), "white", 10)
        slide.text((left + 46, 155), day, 17, COBALT, anchor="ms")
        slide.text((left + 48, 187), degrees, 31, INK, anchor="ms")
    _talk_foot(slide)
    return slide


def talk_default() -> Slide:
    """The logo."""
    slide = Slide(COBALT)
    _skyline(slide, 214, "#1430a0")
    slide.rectangle((0, 190, 320, 240), "#1430a0")
    _bubble(slide, (20, 26, 300, 118), "white", 76)
    slide.text((160, 90), "City Talk", 53, COBALT, anchor="ms")
    slide.text((160, 225), "104.1 FM", 32, SUN, anchor="ms")
    return slide


SLIDES: dict[str, Callable[[], Slide]] = {
    "rock-1": rock_1,
    "rock-2": rock_2,
    "rock-3": rock_3,
    "rock-default": rock_default,
    "klassik-1": klassik_1,
    "klassik-2": klassik_2,
    "klassik-3": klassik_3,
    "klassik-default": klassik_default,
    "talk-1": talk_1,
    "talk-2": talk_2,
    "talk-3": talk_3,
    "talk-default": talk_default,
}


def main() -> None:
    """Draw every slide, and print the size of its file."""
    parser = argparse.ArgumentParser(description="Draw the slides of the demo stations.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "slides")
    folder = parser.parse_args().folder
    if not (FONTS / f"{BOLD}.ttf").exists():
        parser.error(f"no {BOLD}.ttf in {FONTS}: apt-get install fonts-dejavu")
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in SLIDES.items():
        png = draw().png()
        (folder / f"{name}.png").write_bytes(png)
        print(f"{name}.png {len(png)} bytes")


if __name__ == "__main__":
    main()
