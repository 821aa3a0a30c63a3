"""The vault: unique identities, keys of one purpose, and the life of a credential."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from cryptography.x509.oid import NameOID

from appliance.vault import index
from appliance.vault.errors import VaultError
from appliance.vault.model import Credential, NewCredential, NewDevice, Permissions
from appliance.vault.vault import Vault
from tests.vault.conftest import NOON, Clock, Home

DAY = 86400.0
BOTH = (NewCredential(), NewCredential(purpose="bootstrap"))


def device(name: str, *credentials: NewCredential, **fields: Any) -> NewDevice:
    return NewDevice(name, credentials=credentials or BOTH, **fields)


def states(vault: Vault, name: str) -> list[tuple[str, str]]:
    found = vault.device(name)
    assert found is not None
    return [(one.identity, one.state) for one in found.credentials]


def server_key(vault: Vault, name: str) -> Credential:
    found = vault.device(name)
    assert found is not None
    credential = found.credential("server")
    assert credential is not None
    return credential


def certificate(name: str, key: ec.EllipticCurvePrivateKey | None = None, days: int = 100) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.fromtimestamp(NOON, UTC) - timedelta(days=500)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(datetime.fromtimestamp(NOON, UTC) + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{name}.example")]), False)
    )
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def public_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def refused(kind: str, words: str, call: Any, *arguments: Any, **named: Any) -> None:
    with pytest.raises(VaultError, match=words) as caught:
        call(*arguments, **named)
    assert caught.value.kind == kind


# Adding


def test_what_is_not_given_is_made_and_shown_once(vault: Vault, home: Home) -> None:
    (made,) = vault.add([device("meter-1", label=" Cellar ", groups=("b", "a", "b"))], "ada")
    assert states(vault, "meter-1") == [("psk:meter-1", "active"), ("psk:bs:meter-1", "active")]
    assert (made.device.label, made.device.groups) == ("Cellar", ("b", "a"))
    keys = [made.secrets[one.id]["psk_key"] for one in made.made]
    assert [len(key) for key in keys] == [16, 16] and keys[0] != keys[1]
    assert all(key.hex() not in repr(made) for key in keys)
    credential = vault.by_identity("psk:meter-1")
    assert credential is not None and credential.public == {"identity_hex": b"meter-1".hex()}
    assert credential.secrets == ("psk_key",)
    again = home.vault()
    assert again.devices() == vault.devices()
    assert again.secret(credential.id, "psk_key") == keys[0] == vault.psk_key(credential)


def test_a_name_that_is_taken_gets_a_number(vault: Vault) -> None:
    vault.add([device("a", NewCredential(psk_identity=b"b"))], "ada")
    vault.add([device("b", NewCredential())], "ada")
    assert states(vault, "b") == [("psk:b-2", "active")]
    long = "x" * 250
    vault.add([device(long, NewCredential())], "ada")
    assert states(vault, long)[0][0].startswith("psk:ep-")


def test_key_pairs_are_made_and_public_keys_are_taken(vault: Vault) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    (made,) = vault.add([device("made", NewCredential(mode="rpk"))], "ada")
    (given,) = vault.add([device("given", NewCredential(mode="rpk", spki=public_key(own)))], "ada")
    private = load_der_private_key(made.secrets[made.made[0].id]["private_key"], None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert made.made[0].public == {"spki_hex": public_key(private).hex()}
    assert given.made[0].secrets == () and not given.secrets[given.made[0].id]
    refused(
        "invalid",
        "belong together",
        vault.add,
        [
            device(
                "wrong",
                NewCredential(
                    mode="rpk", spki=public_key(own), private_key=made.secrets[made.made[0].id]["private_key"]
                ),
            )
        ],
        "ada",
    )


def test_certificates_say_their_names_and_their_end(vault: Vault) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (made,) = vault.add(
        [device("m", NewCredential(mode="x509", certificate=certificate("meter-1", key)))], "ada"
    )
    one = made.made[0]
    assert (one.identity, one.expires_at) == ("x509:meter-1", NOON + 100 * DAY)
    assert one.public["names"] == ["meter-1", "meter-1.example"]
    assert vault.by_certificate(one.public["sha256"]) == one and vault.pinned(one.public["sha256"])
    (pinned,) = vault.add([device("p", NewCredential(mode="x509", pinned_sha256="AB:" * 31 + "AB"))], "ada")
    assert pinned.made[0].identity == "x509:p" and vault.pinned("ab" * 32)
    vault.revoke("p", "ada", "lost")
    assert not vault.pinned("ab" * 32)


def test_oscore_contexts_are_made_as_the_client_sees_them(vault: Vault) -> None:
    (made,) = vault.add([device("o", NewCredential(mode="oscore"))], "ada")
    public, secrets = made.made[0].public, made.secrets[made.made[0].id]
    assert made.made[0].identity == f"oscore:{public['sender_id']}"
    assert (public["aead"], public["hkdf"], public["id_context"]) == (10, -10, None)
    assert public["sender_id"] != public["recipient_id"]
    assert len(secrets["master_secret"]) == 16 and len(secrets["master_salt"]) == 8


WRONG = [
    (NewDevice(""), "endpoint name is missing"),
    (NewDevice("a\nb"), "cannot be printed"),
    (NewDevice(" a"), "spaces around"),
    (NewDevice("ä" * 128), "255 bytes"),
    (NewDevice("a", label="x" * 201), "label"),
    (NewDevice("a", groups=("",)), "group"),
    (NewDevice("a", groups=("*",)), "group"),
    (NewDevice("a", tags=("a,b",)), "tag"),
    (NewDevice("a", tags=tuple(f"t{n}" for n in range(33))), "at most 32 tags"),
    (NewDevice("a", plan="\x00"), "plan"),
    (device("a", NewCredential(purpose="both")), "server or bootstrap"),
    (device("a", NewCredential(mode="nosec")), "security mode"),
    (device("a", NewCredential(psk_identity=b"")), "1 to 128 bytes"),
    (device("a", NewCredential(psk_identity=b"x" * 129)), "1 to 128 bytes"),
    (device("a", NewCredential(psk_key=b"short")), "16 to 64 bytes"),
    (device("a", NewCredential(psk_key=b"x" * 65)), "16 to 64 bytes"),
    (device("a", NewCredential(psk_key=b"\0" * 16)), "one byte repeated"),
    (device("a", NewCredential(mode="rpk", spki=b"nonsense")), "SubjectPublicKeyInfo"),
    (
        device("a", NewCredential(mode="rpk", spki=public_key(ec.generate_private_key(ec.SECP384R1())))),
        "P-256",
    ),
    (device("a", NewCredential(mode="rpk", private_key=b"nonsense")), "neither PEM nor DER"),
    (device("a", NewCredential(mode="x509")), "needs a certificate"),
    (device("a", NewCredential(mode="x509", certificate=b"nonsense")), "neither PEM nor DER"),
    (device("a", NewCredential(mode="x509", certificate=certificate("a", days=-1))), "expired on 2027-01-14"),
    (device("a", NewCredential(mode="x509", pinned_sha256="abc")), "64 hexadecimal digits"),
    (device("a", NewCredential(mode="oscore", sender_id=b"x" * 8)), "at most 7 bytes"),
    (device("a", NewCredential(mode="oscore", sender_id=b"1", recipient_id=b"1")), "must differ"),
    (device("a", NewCredential(mode="oscore", master_secret=b"x")), "16 to 64 bytes"),
    (device("a", NewCredential(mode="oscore", aead=99)), "AEAD"),
    (device("a", NewCredential(mode="oscore", hkdf=99)), "key derivation"),
    (device("a", NewCredential(expires_at=NOON - 1)), "later date"),
]


@pytest.mark.parametrize(("new", "words"), WRONG)
def test_every_field_is_checked_with_a_sentence(vault: Vault, new: NewDevice, words: str) -> None:
    (problem,) = vault.check_new([new])
    assert words in str(problem[1])
    refused("invalid", words, vault.add, [new], "ada")
    assert vault.devices() == []


def test_all_bad_rows_are_told_and_nothing_is_added(vault: Vault) -> None:
    vault.add([device("there", NewCredential(psk_key=b"k" * 15 + b"l"))], "ada")
    rows = [
        device("good"),
        device("there"),
        device("twice"),
        device("twice"),
        device("same-identity", NewCredential(psk_identity=b"good")),
        device("same-key", NewCredential(psk_key=b"k" * 15 + b"l")),
        device("", label="x" * 300),
    ]
    problems = vault.check_new(rows)
    assert [row for row, _ in problems] == [1, 3, 4, 5, 6, 6]
    assert [str(error) for _, error in problems][:4] == [
        "there is a device there already",
        "twice stands in row 3 already",
        "the identity psk:good is taken already, by good",
        "this key is used by there already: each device needs a key of its own",
    ]
    refused(
        "conflict", r"row 2: there is a device there already \(and 5 more problems\)", vault.add, rows, "ada"
    )
    assert [one.endpoint_name for one in vault.devices()] == ["there"]


# Distinct keys


def test_bootstrap_and_server_need_different_keys(vault: Vault) -> None:
    psk, pair = b"0123456789abcdef", ec.generate_private_key(ec.SECP256R1())
    for one, other in [
        (NewCredential(psk_key=psk), NewCredential(purpose="bootstrap", psk_key=psk)),
        (
            NewCredential(mode="rpk", spki=public_key(pair)),
            NewCredential(purpose="bootstrap", mode="x509", certificate=certificate("a", pair)),
        ),
    ]:
        refused("conflict", "different keys", vault.add, [device("a", one, other)], "ada")
        vault.add([device("b", one)], "ada")
        refused("conflict", "different keys", vault.add_credential, "b", other, "ada")
        refused("conflict", "key of its own", vault.add, [device("c", other)], "ada")
        vault.remove("b", "ada")
        vault.add([device("c", other)], "ada")
        vault.remove("c", "ada")


def test_one_identity_for_both_purposes_is_refused(vault: Vault) -> None:
    both = [NewCredential(psk_identity=b"x"), NewCredential(psk_identity=b"x", purpose="bootstrap")]
    refused("conflict", "each credential needs its own", vault.add, [device("a", *both)], "ada")


def test_certificates_of_one_device_may_share_its_name(vault: Vault) -> None:
    vault.add([device("a", NewCredential(mode="x509", certificate=certificate("a")))], "ada")
    vault.add_credential("a", NewCredential("bootstrap", "x509", certificate=certificate("a")), "ada")
    for purpose in ("server", "bootstrap"):
        found = vault.by_identity("x509:a", purpose)
        assert found is not None and found.purpose == purpose
    refused(
        "conflict",
        "taken already, by a",
        vault.add,
        [device("b", NewCredential(mode="x509", certificate=certificate("a")))],
        "ada",
    )


# The life of a credential


def test_a_staged_key_takes_over_when_it_is_used(vault: Vault, clock: Clock) -> None:
    vault.add([device("m")], "ada")
    made = vault.rotate("m", "server", "ada", staged=True)
    assert states(vault, "m") == [("psk:m", "retiring"), ("psk:bs:m", "active"), ("psk:m-2", "staged")]
    assert list(made.secrets) == [made.made[0].id]
    old = vault.by_identity("psk:m")
    assert old is not None and old.expires_at == NOON + 30 * DAY and old.opens(clock())
    clock.now += DAY
    vault.used("psk:m")
    vault.used("psk:nobody")
    assert states(vault, "m")[0] == ("psk:m", "retiring"), "the old one still opens"
    vault.used("psk:m-2")
    assert states(vault, "m") == [("psk:m", "revoked"), ("psk:bs:m", "active"), ("psk:m-2", "active")]
    replaced = vault.by_identity("psk:m")
    assert replaced is not None and replaced.secrets == () and vault.psk_key(replaced) is None
    refused("not_found", "no psk key", vault.secret, replaced.id, "psk_key")
    version = vault.version()
    vault.used("psk:m-2")
    assert vault.version() == version


def test_a_key_replaced_at_once_opens_no_more(vault: Vault) -> None:
    vault.add([device("m")], "ada")
    vault.rotate("m", "server", "ada", staged=False)
    assert states(vault, "m") == [("psk:m", "revoked"), ("psk:bs:m", "active"), ("psk:m-2", "active")]
    vault.rotate("m", "bootstrap", "ada", staged=False)
    assert states(vault, "m")[-1] == ("psk:bs:m-2", "active")


def test_what_a_bootstrap_key_gave_and_nobody_used_is_lost_with_it(vault: Vault) -> None:
    for name in ("replaced", "revoked", "staged"):
        vault.add([device(name)], "ada")
        vault.rotate(name, "server", "bootstrap", staged=True)
    vault.rotate("replaced", "bootstrap", "ada", staged=False)
    (bootstrap,) = [one for one in vault.device("revoked").credentials if one.purpose == "bootstrap"]  # type: ignore[union-attr]
    vault.revoke("revoked", "ada", "leaked", bootstrap.id)
    vault.rotate("staged", "bootstrap", "ada", staged=True)  # nothing leaked
    for name, state in (("replaced", "revoked"), ("revoked", "revoked"), ("staged", "staged")):
        assert (f"psk:{name}-2", state) in states(vault, name)
        assert (f"psk:{name}", "retiring") in states(vault, name), "it was not given by that key"
    lost = vault.by_identity("psk:revoked-2")
    assert lost is not None and "bootstrap key by which it may have been given" in lost.reason
    vault.reinstate("revoked", "ada", bootstrap.id)
    assert ("psk:revoked-2", "revoked") in states(vault, "revoked")


def test_a_retiring_key_ends_by_itself(vault: Vault, clock: Clock) -> None:
    vault.add([device("m")], "ada")
    vault.rotate("m", "server", "ada", staged=True)
    old = vault.by_identity("psk:m")
    assert old is not None and old.opens(clock() + 30 * DAY - 1) and not old.opens(clock() + 30 * DAY)


def test_bootstraps_that_fail_do_not_pile_up_keys(vault: Vault) -> None:
    vault.add([device("m")], "ada")
    for _ in range(10):
        vault.rotate("m", "server", "ada", staged=True)
    now = states(vault, "m")
    assert [state for identity, state in now if identity != "psk:bs:m"].count("staged") == 3
    assert ("psk:m", "retiring") in now and len(now) <= 1 + 1 + 3 + 4
    vault.used("psk:m-10")
    living = [identity for identity, state in states(vault, "m") if state != "revoked"]
    assert living == ["psk:bs:m", "psk:m-10", "psk:m-11"], "one made later may be what the device has by now"


def test_a_device_keeps_a_bounded_past(vault: Vault) -> None:
    vault.add([device("m", NewCredential(mode="rpk"))], "ada")
    for _ in range(12):
        vault.rotate("m", "server", "ada", staged=False)
    assert len(states(vault, "m")) == 5
    # A certificate that nobody remembers to be replaced would open again, if another authority made it.
    vault.add([device("x", NewCredential(mode="x509", certificate=certificate("x")))], "ada")
    for _ in range(30):
        renewed = NewCredential(mode="x509", certificate=certificate("x"))
        vault.rotate("x", "server", "ada", staged=False, new=renewed)
    assert [state for _, state in states(vault, "x")] == ["revoked"] * 24 + ["active"]
    vault.add([device("many", NewCredential())], "ada")
    for _ in range(11):
        vault.add_credential("many", NewCredential(), "ada")
    refused("conflict", "12 credentials", vault.add_credential, "many", NewCredential(), "ada")


def test_a_certificate_is_renewed_beside_the_old_one(vault: Vault, clock: Clock) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    vault.add([device("m", NewCredential(mode="x509", certificate=certificate("m", key)))], "ada")
    refused("invalid", "needs a certificate", vault.rotate, "m", "server", "ada", staged=True)
    new = NewCredential(mode="x509", certificate=certificate("m", key, days=400))
    vault.rotate("m", "server", "ada", staged=True, new=new)
    vault.used("x509:m")  # the name does not say which of them was shown
    assert states(vault, "m") == [("x509:m", "retiring"), ("x509:m", "staged")]
    clock.now += 31 * DAY
    vault.used("x509:m")
    assert states(vault, "m") == [("x509:m", "revoked"), ("x509:m", "active")]
    assert len(vault.all_by_identity("x509:m")) == 2
    found = vault.by_identity("x509:m")
    assert found is not None and found.state == "active"


def test_the_authority_is_told_of_certificates_that_ended(vault: Vault) -> None:
    told: list[tuple[str, str]] = []
    vault.dropped = lambda one: told.append((one.endpoint_name, one.public["serial"]))
    made = vault.add(
        [device(n, NewCredential(mode="x509", certificate=certificate(n))) for n in "abc"], "ada"
    )
    serials = [one.made[0].public["serial"] for one in made]
    vault.revoke("a", "ada", "lost")
    vault.remove("b", "ada")
    vault.rotate(
        "c", "server", "ada", staged=False, new=NewCredential(mode="x509", certificate=certificate("c"))
    )
    vault.remove("a", "ada")
    assert told == list(zip("abc", serials, strict=True))
    vault.add([device("d", NewCredential(mode="x509", certificate=certificate("d")))], "ada")
    vault.revoke("d", "ada", "lost")
    refused("conflict", "not taken back", vault.reinstate, "d", "ada")


def test_what_was_revoked_by_hand_can_be_taken_back(vault: Vault) -> None:
    (made,) = vault.add([device("m")], "ada")
    vault.rotate("m", "server", "ada", staged=True)
    vault.revoke("m", "ada", "stolen\nfrom the van")
    assert {state for _, state in states(vault, "m")} == {"revoked"}
    one = vault.by_identity("psk:m")
    assert one is not None and one.reason == "stolen from the van"
    refused(
        "conflict",
        "reinstate it",
        vault.add_credential,
        "m",
        NewCredential(psk_key=made.secrets[one.id]["psk_key"]),
        "ada",
    )
    vault.update("m", "ada", blocked=True)
    back = vault.reinstate("m", "ada")
    assert not back.blocked
    assert [state for _, state in states(vault, "m")] == ["retiring", "active", "staged"]
    assert vault.psk_key(one) == made.secrets[one.id]["psk_key"]
    vault.revoke("m", "ada", "", credential_id=one.id)
    assert [state for _, state in states(vault, "m")] == ["revoked", "active", "staged"]
    vault.add([device("other", NewCredential(psk_identity=b"m"))], "ada")
    refused("conflict", "belongs to other by now", vault.reinstate, "m", "ada")
    refused("not_found", "no credential", vault.revoke, "m", "ada", "", "nonsense")


def test_unknown_devices_are_said_so(vault: Vault) -> None:
    for call in (
        lambda: vault.remove("x", "ada"),
        lambda: vault.update("x", "ada", label="y"),
        lambda: vault.rotate("x", "server", "ada", staged=True),
        lambda: vault.revoke("x", "ada", ""),
        lambda: vault.ask_rebootstrap("x", "ada"),
        lambda: vault.withdraw_rebootstrap(["x"], "ada"),
        lambda: vault.secret("x", "psk_key"),
    ):
        refused("not_found", "no", call)
    vault.add([NewDevice("bare")], "ada")
    refused("not_found", "add one", vault.rotate, "bare", "server", "ada", staged=True)
    refused("invalid", "server or bootstrap", vault.rotate, "bare", "other", "ada", staged=True)


def test_fields_change_and_stay(vault: Vault, home: Home) -> None:
    vault.add([device("m", label="old", groups=("a",), plan="p")], "ada")
    changed = vault.update("m", "ada", groups=["b", "c"], nosec=True, plan=None)
    assert (changed.label, changed.groups, changed.nosec, changed.plan) == ("old", ("b", "c"), True, None)
    assert vault.update("m", "ada", label="new").groups == ("b", "c")
    refused("invalid", "group", vault.update, "m", "ada", groups=["*"])
    assert home.vault().devices() == vault.devices() == [vault.device("m")]
    assert vault.groups() == ["b", "c"]
    said = [(entry.by, entry.what) for entry in vault.audit(limit=2)]
    assert said == [
        ("ada", "device changed: label 'new'"),
        ("ada", "device changed: groups b/c, nosec yes, plan none"),
    ]


def test_many_devices_are_given_a_plan_or_none_of_them(vault: Vault, home: Home) -> None:
    vault.add([device(f"m{n}") for n in range(3)], "ada")
    assert vault.give_plan(["m0", "m1", "m0"], "p", "ada") == 2
    assert vault.give_plan(["m0", "m1", "m2"], "p", "ada") == 1
    assert vault.give_plan(["m0"], "p", "ada") == 0
    for names, plan in ((["m0", "gone"], "q"), (["m0"], "q" * 500)):
        with pytest.raises(VaultError):
            vault.give_plan(names, plan, "ada")
    assert [one.plan for one in home.vault().devices()] == ["p", "p", "p"]
    assert vault.give_plan(["m1"], None, "ada") == 1
    assert [one.plan for one in home.vault().devices()] == ["p", None, "p"]
    said = [(one.what, one.about) for one in vault.audit(None, 3)]
    assert said[0] == ("device changed: plan none", "m1")
    assert said[1][0].startswith("device changed: plan ")


def test_bootstrap_again_is_asked_for_and_done(vault: Vault, clock: Clock, home: Home) -> None:
    vault.add([device(f"m{n}") for n in range(3)], "ada")
    assert vault.ask_rebootstrap(["m0", "m1", "m0"], "ada") == 2
    assert [one.rebootstrap_asked for one in home.vault().devices()] == [NOON, NOON, None]
    assert vault.withdraw_rebootstrap(["m1", "m2", "m1"], "ada") == 1
    assert [one.rebootstrap_asked for one in home.vault().devices()] == [NOON, None, None]
    assert vault.ask_rebootstrap("m1", "ada") == 1
    vault.rebootstrap_done("m0")
    vault.rebootstrap_done("m2")
    vault.rebootstrap_done("gone")
    assert [one.rebootstrap_asked for one in home.vault().devices()] == [None, NOON, None]


# Permissions


def test_permissions_on_groups(vault: Vault, home: Home) -> None:
    assert vault.permissions("bob") is None
    vault.set_permissions("Bob", {"cellar": "operate", "roof": "read"}, "ada")
    found = home.vault().permissions("bob")
    assert found == Permissions({"cellar": "operate", "roof": "read"})
    assert [found.right(groups) for groups in (("roof", "cellar"), ("roof",), ("yard",), ())] == [
        "operate",
        "read",
        None,
        None,
    ]
    assert Permissions({"*": "read", "a": "admin"}).right(("a",)) == "admin"
    vault.set_permissions("bob", None, "ada")
    vault.set_permissions("bob", None, "ada")
    assert home.vault().all_permissions() == {}
    for wrong in ({"cellar": "all"}, {"a,b": "read"}):
        refused("invalid", "group", vault.set_permissions, "bob", wrong, "ada")


# Two processes


def test_a_change_of_another_process_is_taken_over(vault: Vault, home: Home) -> None:
    vault.add([device("m")], "ada")
    assert vault.refresh() == {"m"}
    other = home.vault()
    assert other.refresh() == set() and vault.refresh() == set()
    other.rotate("m", "server", "bob", staged=True)
    other.update("m", "bob", label="no trust in a label")
    assert vault.refresh() == {"m"}
    assert vault.devices() == other.devices()
    other.update("m", "bob", label="none at all")
    other.set_permissions("eve", {"a": "read"}, "bob")
    assert vault.refresh() == set()
    assert vault.permissions("eve") is not None
    other.remove("m", "bob")
    assert vault.refresh() == {"m"} and vault.by_identity("psk:m-2") is None
    vault.add([device("m")], "ada")
    assert vault.audit_problems() == home.vault().audit_problems() == []


def test_a_write_sees_what_another_process_wrote_just_before(vault: Vault, home: Home) -> None:
    home.vault().add([device("m")], "bob")
    refused("conflict", "already", vault.add, [device("m")], "ada")
    refused("conflict", "taken already", vault.add, [device("n", NewCredential(psk_identity=b"m"))], "ada")


def test_refresh_does_not_wait_for_a_writer(vault: Vault, home: Home) -> None:
    other = home.vault()
    other.add([device("m")], "bob")
    with other.quiet():
        assert vault.refresh() == set()
    assert vault.refresh() == {"m"}


def test_who_asks_what_has_changed_in_the_middle_of_a_change_is_told_when_it_can_be_seen(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.add([device("m")], "ada")
    vault.refresh()
    told: list[set[str]] = []
    weight = index._weight

    def asked_meanwhile(one: Credential) -> tuple[int, float]:
        told.append(vault.refresh())
        return weight(one)

    monkeypatch.setattr(index, "_weight", asked_meanwhile)
    vault.revoke("m", "ada", "lost")
    assert told and not any(told)
    assert vault.refresh() == {"m"}


def test_what_expires_is_a_change_of_trust_when_its_time_has_come(
    vault: Vault, home: Home, clock: Clock
) -> None:
    vault.add(
        [device("m"), device("n", NewCredential(mode="x509", certificate=certificate("n", days=5)))], "a"
    )
    vault.rotate("m", "server", "ada", staged=True)  # the old key opens for 30 days more
    assert vault.refresh() == {"m", "n"}
    for _ in range(3):  # what changes nothing about the time counts once
        vault.update("n", "ada", blocked=True)
        vault.update("n", "ada", blocked=False)
    assert vault.refresh() == {"n"} and vault.refresh() == set()
    clock.now += 5 * DAY
    assert vault.refresh() == {"n"} and vault.refresh() == set()
    vault.used("psk:m-2")  # the old key is revoked by it, before its time
    assert vault.refresh() == {"m"}
    vault.remove("n", "ada")
    assert vault.refresh() == {"n"}
    vault.rotate("m", "server", "ada", staged=True)
    other = home.vault()
    clock.now += 31 * DAY
    assert vault.refresh() == {"m"} == other.refresh()
    assert vault.refresh() == set() == other.refresh()


# Size


def test_a_change_among_many_devices_rewrites_little(vault: Vault, home: Home) -> None:
    rpk = NewCredential(mode="rpk", spki=public_key(ec.generate_private_key(ec.SECP256R1())))
    vault.add([device(f"device-{n:04d}", label="x" * 50, groups=("a", "b")) for n in range(600)], "ada")
    vault.add([device("rpk", rpk)], "ada")
    folder = home.state / "vault"
    assert max(path.stat().st_size for path in folder.glob("*.json")) < 16_000
    before = {path: path.stat().st_ino for path in folder.glob("*.json")}
    for _ in range(8):  # the rows grow as much as they can
        for name in ("device-0003", "device-0004", "device-0005"):
            vault.rotate(name, "server", "ada", staged=True)
            vault.rotate(name, "bootstrap", "ada", staged=True)
    written = [path for path in folder.glob("*.json") if before.get(path) != path.stat().st_ino]
    assert len(written) <= 3
    assert sum(path.stat().st_size for path in written) < 32_000 * len(written)
    assert max(path.stat().st_size for path in folder.glob("*.json")) < 32_000
    assert home.vault().devices() == vault.devices()
    vault.remove("device-0003", "ada")
    assert home.vault().devices() == vault.devices()


def test_rows_that_outgrow_their_file_move_to_another(vault: Vault, home: Home) -> None:
    vault.add([device(f"d{n}") for n in range(12)], "ada")
    before = list((home.state / "vault").glob("devices-*.json"))
    for n in range(12):
        for _ in range(10):
            vault.add_credential(f"d{n}", NewCredential(), "ada")
    files = list((home.state / "vault").glob("devices-*.json"))
    assert len(files) > len(before) and max(path.stat().st_size for path in files) < 32_000
    assert home.vault().devices() == vault.devices()
    assert len(vault.devices()) == 12


def test_damage_is_told_and_the_version_before_serves(vault: Vault, home: Home) -> None:
    vault.add([device("m")], "ada")
    vault.update("m", "ada", label="newer")
    file = home.state / "vault/devices-0001.json"
    file.write_bytes(file.read_bytes()[:-20])
    again = home.vault()
    assert again.device("m") is not None
    assert any("previous version" in problem for problem in again.problems())
    assert again.audit_problems(), "the log knows of a change that the documents lost"


def test_a_row_of_another_release_is_not_guessed_at(vault: Vault, home: Home) -> None:
    from appliance.storage.documents import open_documents

    vault.add([device("m")], "ada")
    documents = open_documents(home.state / "vault", "devices-0001")
    documents.table("devices").update({"credentials": [{"id": "x"}]})
    refused("unavailable", "cannot be read", home.vault)


def test_a_vault_opens_only_with_its_key(vault: Vault, home: Home, tmp_path: Path) -> None:
    vault.add([device("m")], "ada")
    (home.state.parent / "state.key").write_text("ab" * 32)
    from appliance.vault.sealing import SealingKey

    home.key = SealingKey.load(home.state, create=True)
    refused("unavailable", "another unit's", home.vault)
