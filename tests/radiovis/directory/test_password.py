from __future__ import annotations

import base64

from twisted.trial import unittest

from radiovis.directory.password import StoredPassword, check_password, hash_password

B64 = base64.b64encode(b"0123456789abcdef").decode()


class TestPassword(unittest.SynchronousTestCase):
    def test_the_right_password_passes_and_others_do_not(self) -> None:
        stored = hash_password("geheim ü")
        self.assertTrue(check_password("geheim ü", stored))
        for wrong in ("", "geheim", "geheim u", "Geheim ü", "geheim ü ", "\udcff"):
            self.assertFalse(check_password(wrong, stored), wrong)

    def test_the_same_password_is_stored_differently_each_time(self) -> None:
        self.assertNotEqual(hash_password("a"), hash_password("a"))

    def test_the_form_names_the_parameters_and_not_the_password(self) -> None:
        stored = hash_password("geheim")
        self.assertRegex(stored, r"^scrypt\$16384\$8\$1\$[^$]{24}\$[^$]{44}$")
        self.assertNotIn("geheim", stored)
        self.assertEqual(str(StoredPassword.parse(stored)), stored)

    def test_a_known_answer(self) -> None:
        """RFC 7914 §12, the third vector, cut to 32 bytes: what another program has hashed is understood."""
        salt = base64.b64encode(b"SodiumChloride").decode()
        digest = bytes.fromhex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")
        stored = f"scrypt$16384$8$1${salt}${base64.b64encode(digest).decode()}"
        self.assertTrue(check_password("pleaseletmein", stored))

    def test_malformed_or_hostile_forms_are_refused_without_quoting_them(self) -> None:
        for stored in (
            "",
            "geheim",
            "scrypt$16384$8$1$" + B64,
            f"scrypt$16384$8$1${B64}$",
            f"bcrypt$16384$8$1${B64}${B64}",
            f"scrypt$16384$8$1$abc*${B64}",
            f"scrypt$16384$8$1$abcde${B64}",
            f"scrypt$16383$8$1${B64}${B64}",
            f"scrypt$2$8$1${B64}${B64}",
            f"scrypt$1048576$8$1${B64}${B64}",
            f"scrypt$16384$999$1${B64}${B64}",
            f"scrypt$16384$0$1${B64}${B64}",
            f"scrypt$16384$8$0${B64}${B64}",
            f"scrypt$16384$8$999${B64}${B64}",
            f"scrypt$99999999999999$8$1${B64}${B64}",
            f"scrypt$١٦٣٨٤$8$1${B64}${B64}",
            f"scrypt$16384$8$1${B64}${'A' * 10_000}",
        ):
            with self.assertRaises(ValueError) as raised:
                StoredPassword.parse(stored)
            self.assertNotIn(B64, str(raised.exception))
            self.assertNotIn("geheim", str(raised.exception))

    def test_the_largest_form_accepted_can_be_checked(self) -> None:
        self.assertFalse(check_password("x", f"scrypt$65536$8$4${B64}${B64}"))
