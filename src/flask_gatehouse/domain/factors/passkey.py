"""Passkeys (WebAuthn): what a browser is asked, and whether its answer is right. Writes nothing.

An answer counts for the one challenge it signs, from the origins of the settings, for the name of the settings. The
counter is judged where the answer is taken (`passkey_rows.use`), after the signature: else anybody could raise the
alarm about a copied passkey.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    decode_credential_public_key,
    parse_attestation_object,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.decode_credential_public_key import DecodedRSAPublicKey
from webauthn.helpers.exceptions import InvalidAuthenticationResponse
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from flask_gatehouse.kernel.feature import Resealed
from flask_gatehouse.kernel.identity import HAS, Proof

from . import passkey_challenges, passkey_rows
from .passkey_challenges import LOGIN, Bound, Question
from .passkey_rows import Doubt, NewPasskey, Passkey, Shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.keys import KeyRing

    from .relying_party import RelyingParty

PATIENCE_MILLISECONDS = 120_000
"""How long a browser waits for its user: two of the five minutes that a challenge lives, so that whoever is asked by a
page of up to three minutes answers in time; the script loads an older one anew."""
ANSWER_MAX, CREDENTIAL_ID_MAX, PUBLIC_KEY_MAX = 16_384, 1023, 2048
"""Characters of an answer, bytes of what it names. An answer has some 1 000 characters, one with certificates 6 000; of
what strangers write in CBOR, a number of 32 KB takes a quarter of a second to read."""
RSA_BYTES_MIN = 256
READ_AT_ONCE = 500
ATTESTED = frozenset({AttestationFormat.NONE, AttestationFormat.PACKED})
"""Forms of attestation that are read: none is asked for, and an authenticator may vouch for itself."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer whose challenge, origin and kind are ours; its signature is not checked yet."""

    question: Question
    challenge: bytes
    origin: str


class Passkeys:
    """The factor `passkey`.

    Args:
        keys: the key ring, for challenges and for what authenticators call a user.
    """

    method = "passkey"
    kind = HAS
    field = "passkey"

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def enrolled(self, connection: Connection, user_id: int) -> bool:
        """Tell whether the user has a passkey."""
        return passkey_rows.is_enrolled(connection, user_id)

    def verify(self, _connection: Connection, _user_id: int, _answer: str, _now: Instant) -> Proof | None:
        """Prove nothing: an answer without its challenge says nothing. See `check`."""
        return None

    def forget(self, connection: Connection, user_id: int, since: Instant = 0) -> bool:
        """Forget the passkeys that the user has enrolled since then; False when there were none."""
        return passkey_rows.forget_all(connection, user_id, since) > 0

    # -- asking -------------------------------------------------------------------------------------------------

    def handles(self, known: Iterable[Passkey], user_id: int) -> list[bytes]:
        """Return what authenticators may call the user: as before, else what a key of the ring gives, newest first.

        It says nothing about the user (WebAuthn section 14.6.1).
        """
        kept = [one.handle for one in known]
        return kept[:1] or self._keys.macs("passkey-handle", str(user_id).encode())

    def ask_new(self, party: RelyingParty, bound: Bound, username: str, known: list[Passkey], now: Instant) -> str:
        """Return the options of `navigator.credentials.create()`, as JSON.

        Args:
            party: the site.
            bound: what the challenge is for; its `handle` names the user.
            username: shown by the authenticator.
            known: passkeys that the user has: an authenticator makes no second one.
            now: the present instant.
        """
        options = generate_registration_options(
            rp_id=party.id,
            rp_name=party.id,
            user_name=username,
            user_id=bound.handle,
            challenge=passkey_challenges.make(self._keys, bound, now),
            timeout=PATIENCE_MILLISECONDS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.PREFERRED,
            ),
            exclude_credentials=[_descriptor(one) for one in known],
        )
        return options_to_json(options)

    def ask(self, party: RelyingParty, bound: Bound, known: list[Passkey], now: Instant) -> str:
        """Return the options of `navigator.credentials.get()`, as JSON.

        Args:
            party: the site.
            bound: what the challenge is for; at a login the authenticator must make sure of its user.
            known: passkeys that may answer; none: any that the browser finds.
            now: the present instant.
        """
        is_alone = bound.purpose == LOGIN
        wanted = UserVerificationRequirement.REQUIRED if is_alone else UserVerificationRequirement.PREFERRED
        options = generate_authentication_options(
            rp_id=party.id,
            challenge=passkey_challenges.make(self._keys, bound, now),
            timeout=PATIENCE_MILLISECONDS,
            allow_credentials=[_descriptor(one) for one in known],
            user_verification=wanted,
        )
        return options_to_json(options)

    # -- reading what came back ---------------------------------------------------------------------------------

    def check_new(self, party: RelyingParty, bounds: list[Bound], text: str, now: Instant) -> NewPasskey | Doubt:
        """Return the passkey that an authenticator has made, or why it is none of ours.

        Args:
            party: the site.
            bounds: what the challenge may be for; they differ in their handle.
            text: what the browser sent.
            now: the present instant.
        """
        credential = _parsed_new(text)
        if credential is None:
            return Doubt.MALFORMED
        for bound in bounds:
            answer = self._answer(party, bound, credential.response.client_data_json, now)
            if isinstance(answer, _Answer):
                return self._verified_new(party, answer, bound, credential)
        return Doubt.CHALLENGE

    def credential_id(self, text: str) -> bytes | None:
        """Return which passkey claims to answer, or None where nothing can be read."""
        credential = _parsed(text)
        return None if credential is None else credential.raw_id

    def check(
        self, party: RelyingParty, bound: Bound, text: str, passkey: Passkey | None, now: Instant
    ) -> Shown | Doubt:
        """Return what a passkey has shown, or why its answer does not count.

        Args:
            party: the site.
            bound: what was asked.
            text: what the browser sent.
            passkey: the one that claims to answer.
            now: the present instant.
        """
        credential = _parsed(text)
        if credential is None:
            return Doubt.MALFORMED
        if passkey is None:
            return Doubt.UNKNOWN
        if bound.user_id is not None and passkey.user_id != bound.user_id:
            return Doubt.OTHER
        answer = self._answer(party, bound, credential.response.client_data_json, now)
        if isinstance(answer, Doubt):
            return answer
        handle = credential.response.user_handle
        if handle != passkey.handle and (handle or bound.purpose == LOGIN):  # WebAuthn section 7.2, step 6
            return Doubt.OTHER
        return self._verified(party, answer, credential, passkey)

    # -- the rows' MACs -----------------------------------------------------------------------------------------

    def old_seals(self, connection: Connection) -> dict[str, int]:
        """Return how many rows bear the MAC of each secret but the present one, by its id; `""`: of none that is set.

        Every row is read: what a MAC was made with stands nowhere.
        """
        found: Counter[str] = Counter()
        after = 0
        while rows := passkey_rows.some(connection, after=after, limit=READ_AT_ONCE):
            found.update(self._key_id_of(one) for one in rows)
            after = rows[-1].id
        return {key_id: count for key_id, count in found.items() if key_id != self._keys.ids()[0]}

    def reseal(self, connection: Connection, *, after: int = 0, limit: int = 500) -> Resealed:
        """Renew MACs that older secrets made, some at a time.

        Args:
            connection: the flow's transaction.
            after: the last passkey's id of the batch before.
            limit: look at so many at most.

        Returns:
            What was done. Lost is a row whose secret is not set any more, or that somebody changed.
        """
        rows = passkey_rows.some(connection, after=after, limit=limit)
        number, lost, present_id = 0, [], self._keys.ids()[0]
        for one in rows:
            key_id = self._key_id_of(one)
            if not key_id:
                lost.append((one.user_id, key_id))
            elif key_id != present_id:
                number += passkey_rows.renew_mac(connection, one, self._keys.mac("passkey-row", _text_of(one)))
        return Resealed(number, tuple(lost), rows[-1].id if len(rows) == limit else 0)

    def _key_id_of(self, passkey: Passkey) -> str:
        """Return the id of the secret that made a row's MAC; `""` where none that is set did."""
        return self._keys.maker("passkey-row", _text_of(passkey), passkey.mac)

    def _mac_of(self, passkey: Passkey) -> bytes | None:
        """Return the MAC of a row under the present secret; None where no secret that is set made the one it bears."""
        return self._keys.mac("passkey-row", _text_of(passkey)) if self._key_id_of(passkey) else None

    # -- what came back, in detail ------------------------------------------------------------------------------

    def _answer(self, party: RelyingParty, bound: Bound, client_data: bytes, now: Instant) -> _Answer | Doubt:
        try:
            told = parse_client_data_json(client_data)
        except Exception:  # noqa: BLE001 - a stranger's bytes: whatever the reader stumbles over is no answer
            return Doubt.MALFORMED
        if told.cross_origin or not party.accepts(f"{told.origin}"):  # a stranger's JSON need not be a text
            return Doubt.MALFORMED
        question = passkey_challenges.read(self._keys, bound, told.challenge, now)
        return Doubt.CHALLENGE if question is None else _Answer(question, told.challenge, told.origin)

    def _verified_new(
        self, party: RelyingParty, answer: _Answer, bound: Bound, credential: RegistrationCredential
    ) -> NewPasskey | Doubt:
        try:
            made = verify_registration_response(
                credential=credential,
                expected_challenge=answer.challenge,
                expected_rp_id=party.id,
                expected_origin=answer.origin,
            )
            is_strong = _is_strong(made.credential_public_key)
        except Exception:  # noqa: BLE001 - as above
            return Doubt.MALFORMED
        if made.credential_id != credential.raw_id or not is_strong:
            return Doubt.MALFORMED
        text = passkey_rows.covered(bound.user_id or 0, made.credential_id, made.credential_public_key, bound.handle)
        return NewPasskey(
            question=answer.question,
            credential_id=made.credential_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            aaguid=made.aaguid,
            transports=_transports(credential),
            handle=bound.handle,
            can_be_backed_up=made.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
            is_backed_up=made.credential_backed_up,
            mac=self._keys.mac("passkey-row", text),
        )

    def _verified(
        self, party: RelyingParty, answer: _Answer, credential: AuthenticationCredential, passkey: Passkey
    ) -> Shown | Doubt:
        mac = self._mac_of(passkey)
        if mac is None:
            return Doubt.ALTERED
        try:
            found = verify_authentication_response(
                credential=credential,
                expected_challenge=answer.challenge,
                expected_rp_id=party.id,
                expected_origin=answer.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=0,  # judged once the answer is taken
            )
        except InvalidAuthenticationResponse:
            return Doubt.SIGNATURE
        except Exception:  # noqa: BLE001 - as above
            return Doubt.MALFORMED
        count, is_verified, is_kept = found.new_sign_count, found.user_verified, found.credential_backed_up
        return Shown(answer.question, passkey, count, is_verified, is_kept, mac)


def _parsed(text: str) -> AuthenticationCredential | None:
    if len(text) > ANSWER_MAX:
        return None
    try:
        found = parse_authentication_credential_json(text)
    except Exception:  # noqa: BLE001 - as above
        return None
    return found if len(found.raw_id) <= CREDENTIAL_ID_MAX else None


def _parsed_new(text: str) -> RegistrationCredential | None:
    if len(text) > ANSWER_MAX:
        return None
    try:
        found = parse_registration_credential_json(text)
        is_read = parse_attestation_object(found.response.attestation_object).fmt in ATTESTED
    except Exception:  # noqa: BLE001 - as above
        return None
    return found if is_read and len(found.raw_id) <= CREDENTIAL_ID_MAX else None


def _text_of(passkey: Passkey) -> bytes:
    return passkey_rows.covered(passkey.user_id, passkey.credential_id, passkey.public_key, passkey.handle)


def _transports(credential: RegistrationCredential) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(one.value) for one in credential.response.transports or ()))


def _descriptor(passkey: Passkey) -> PublicKeyCredentialDescriptor:
    transports = [AuthenticatorTransport(name) for name in passkey.transports]
    return PublicKeyCredentialDescriptor(id=passkey.credential_id, transports=transports or None)


def _is_strong(public_key: bytes) -> bool:
    """Tell whether a key has 112 bits of strength at least; the algorithm was looked at before (SP 800-63B 3.1.6)."""
    if len(public_key) > PUBLIC_KEY_MAX:
        return False
    key = decode_credential_public_key(public_key)
    return not isinstance(key, DecodedRSAPublicKey) or len(key.n.lstrip(b"\0")) >= RSA_BYTES_MIN
