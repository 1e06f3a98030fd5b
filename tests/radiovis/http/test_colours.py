"""Whether what the pages write can be read: contrast as WCAG 2.2 (1.4.3, level AA) counts it."""

from __future__ import annotations

import re

from twisted.trial import unittest

from fanout.http import pages

LEAST = 4.5
PAIRS = [(ink, ground) for ink in ("ink", "faint", "accent", "good", "bad") for ground in ("ground", "card")]
PAIRS.append(("accent-ink", "accent"))


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


class Contrast(unittest.TestCase):
    def test_in_the_dark_and_in_the_light(self) -> None:
        sheet = pages.SHEET.read_text()
        palettes = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", each)) for each in sheet.split(":root {")[1:]]
        self.assertEqual(len(palettes), 2)
        for palette in palettes:
            for ink, ground in PAIRS:
                with self.subTest(ink=palette[ink], ground=palette[ground]):
                    self.assertGreaterEqual(contrast(palette[ink], palette[ground]), LEAST)
