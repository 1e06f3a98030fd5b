from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from twisted.internet import error as failures
from twisted.internet.task import Clock
from twisted.trial import unittest

from fanout.listeners.tls import CertificateError, Certificates, connect_failure, secure_endpoint, trust
from tests.authority import Authority

DAY = 86_400


class _Case(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="radiovis-certificates-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.authority = Authority(self.folder)
        self.file = self.authority.issue("one.pem")
        self.clock = Clock()

    def write(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def refusal(self, certificate: str, key: str) -> str:
        return str(self.assertRaises(CertificateError, Certificates(certificate, key, self.clock).load))


class TestLoad(_Case):
    def test_certificate_and_key_in_one_file_or_in_two(self) -> None:
        certificate, key = self.authority.pair()
        for pair in ((str(self.file),) * 2, (self.write("c.pem", certificate), self.write("k.pem", key))):
            certificates = Certificates(*pair, self.clock)
            certificates.load()
            self.assertGreater(certificates.expires, 1_700_000_000)

    def test_the_end_of_its_time_is_a_problem_two_weeks_before(self) -> None:
        certificates = Certificates(str(self.file), str(self.file), self.clock)
        certificates.load()
        end = certificates.expires
        self.assertEqual(certificates.problem(end - 14 * DAY), "")
        self.assertRegex(certificates.problem(end - 14 * DAY + 1), r"^expires at 20\d\d-\d\d-\d\dT[\d:]+\+00:00$")
        self.assertRegex(certificates.problem(end), r"^expired at 20")

    def test_what_is_wrong_is_said(self) -> None:
        certificate, key = self.authority.pair()
        good, key_file = self.write("c.pem", certificate), self.write("k.pem", key)
        locked = serialization.load_pem_private_key(key, None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"geheim"),
        )
        cases = {
            "cannot be read: No such file": ("none.pem", key_file),
            "does not contain a certificate in PEM form": (key_file, key_file),
            "does not contain a private key in PEM form": (good, good),
            "does not belong to the first certificate": (str(self.file), key_file),
            "has a password": (good, self.write("locked.pem", locked)),
            "is longer than": (self.write("long.pem", b"x" * 1_048_577), key_file),
        }
        for text, pair in cases.items():
            self.assertIn(text, self.refusal(*pair))


class TestReload(_Case):
    def setUp(self) -> None:
        super().setUp()
        self.certificates = Certificates(str(self.file), str(self.file), self.clock, interval=2)
        self.certificates.load()
        self.certificates.start()
        self.addCleanup(self.certificates.stop)

    def options(self) -> object:
        return self.certificates._options

    def test_nothing_is_read_while_nothing_changes(self) -> None:
        before = self.options()
        self.clock.advance(2)
        self.assertIs(self.options(), before)

    def test_a_broken_file_keeps_the_old_one_until_it_is_mended(self) -> None:
        before = self.options()
        for broken in (b"", b"nonsense", self.authority.pair()[0]):
            self.file.write_bytes(broken)
            self.clock.advance(2)
            self.assertIs(self.options(), before)
            self.assertIn("the changed file is not in use: ", self.certificates.problem(0))
        self.file.unlink()
        self.clock.advance(2)
        self.assertIs(self.options(), before)
        self.assertIn("cannot be read", self.certificates.problem(self.certificates.expires))
        self.authority.issue("one.pem")
        self.clock.advance(2)
        self.assertIsNot(self.options(), before)
        self.assertEqual(self.certificates.problem(0), "")

    def test_asked_for_by_hand(self) -> None:
        before = self.options()
        self.assertTrue(self.certificates.reload())
        self.assertIsNot(self.options(), before)
        self.file.unlink()
        self.assertFalse(self.certificates.reload())


class TestTrust(_Case):
    def test_a_file_of_authorities_or_the_systems(self) -> None:
        self.assertIsNotNone(trust(str(self.authority.certificate)))
        self.assertIsNotNone(trust())
        self.assertRaises(CertificateError, secure_endpoint, self.clock, "127.0.0.1", 1, "none.pem")


class TestConnectFailure(unittest.TestCase):
    def test_the_reason_in_words(self) -> None:
        for error, words in (
            (failures.DNSLookupError("x.invalid"), "no such host"),
            (failures.ConnectionRefusedError(), "nothing listens there (connection refused)"),
            (failures.TimeoutError(), "no answer within 2.5 s"),
            (failures.ConnectError(osError=OSError(113, "No route to host")), "No route to host"),
            (ValueError("odd"), "odd"),
            (KeyError(), "KeyError"),
        ):
            self.assertEqual(connect_failure(error, 2.5), words)
