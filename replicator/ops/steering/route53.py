"""Weighted records in Route 53: one per region, with the region's name as SetIdentifier.

The earlier weights of a region that is sent away are kept in the zone itself, as a TXT record beside the weighted ones
(`_meridian.www.example.com`), written and removed in the same change batch as the weights. Route 53 applies all changes of a
batch or none, so a killed runbook leaves either the old weights and no such record, or both; a repeated run, on any machine,
finds them. A weight guessed from the other regions' would be wrong where they differ.

Records are changed by DELETE, which fails unless it names a record as it is, and CREATE: if another process wrote after the
read, nothing is changed and the records are read again. Health checks, alias targets and TTLs stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
    wait_random_exponential,
)

from replicator.aws.clients import error_code
from replicator.ops.steering import traffic_clients
from replicator.ops.steering.steering_failed import SteeringFailed, check_move
from replicator.ops.steering.weights import Slot, Weights

TYPES = ("A", "AAAA", "CNAME")
_KEEPS = "_meridian"
_KEEPS_TTL = 60
_NOTE = re.compile(r'"away=(\S+) type=(\S+) region=(\S+) weight=(\d+)"')


class _Changed(Exception):
    """Another process changed a record between the read and the write. Nothing was written."""


@dataclass(frozen=True, slots=True)
class _Records:
    """Records of the zone: the weighted ones by type and region, and the TXT record of kept weights."""

    weighted: Mapping[Slot, Any]
    notes: Any | None

    @property
    def weights(self) -> Weights:
        kept: dict[str, dict[Slot, int]] = {}
        for record in self.notes["ResourceRecords"] if self.notes else ():
            if (found := _NOTE.fullmatch(record["Value"])) is None:
                raise SteeringFailed(
                    f"a TXT record of {_KEEPS}.… holds {record['Value']}, which Meridian did not write; remove that value"
                )
            away, kind, region, weight = found.groups()
            kept.setdefault(away, {})[kind, region] = int(weight)
        return Weights({slot: record["Weight"] for slot, record in self.weighted.items()}, kept)


class Route53:
    """Moves writers by the weights of the records `name` in a hosted zone: of `kind` alone, or of every existing type."""

    def __init__(
        self,
        zone: str,
        name: str,
        kind: str | None = None,
        client: Any = None,
        *,
        seconds: float = 120.0,
        pause: float = 2.0,
    ) -> None:
        """`seconds` is the maximum wait until every server of Route 53 has a change, `pause` the time between two checks."""
        self._zone = zone
        self._name = name.lower().rstrip(".") + "."
        self._kinds = (kind,) if kind else TYPES
        self._client = client or traffic_clients.route53()
        self._hasty = client or traffic_clients.route53(hasty=True)  # a plan must not delay a runbook
        self._seconds = seconds
        self._pause = pause

    def plan(self, region: str, to: str | None) -> str:
        check_move(region, to)
        try:
            before = self._read(self._hasty)
            after = self._moved(before, region, to)
        except SteeringFailed as error:
            return f"would fail at {self._shown} as it is now: {error}"
        changed = _difference(before.weights, after)
        return f"{self._shown} would change: {changed}" if changed else f"{self._shown} would stay as it is"

    def away(self, region: str, to: str) -> str:
        check_move(region, to)
        return self._move(region, to)

    def back(self, region: str) -> str:
        check_move(region, None)
        return self._move(region, None)

    @property
    def _shown(self) -> str:
        return self._name.rstrip(".")

    def _move(self, region: str, to: str | None) -> str:
        moving = Retrying(
            retry=retry_if_exception_type(_Changed),
            stop=stop_after_attempt(5),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            reraise=True,
        )
        try:
            return moving(self._move_once, region, to)
        except _Changed as error:
            raise SteeringFailed(
                f"Route 53 refused the change of {self._shown} ({error}); nothing was changed. If another process is "
                "changing its records, run this again afterwards"
            ) from None

    def _move_once(self, region: str, to: str | None) -> str:
        before = self._read(self._client)
        after = self._moved(before, region, to)
        batch = list(_changes(before, after, _KEEPS + "." + self._name))
        done = f"changed {_difference(before.weights, after)}"
        if (
            not batch
        ):  # a killed run may have left it before all servers had it: writing it again unchanged gives a change to wait for
            batch = [change for slot, record in before.weighted.items() if slot[1] == region for change in _again(record)]
            done = f"is as it was left: {_as_text(after)}"
        self._wait(self._send(batch, f"Meridian: {region} {f'away to {to}' if to else 'back'}"))
        ttl = max(record.get("TTL", 60) for record in before.weighted.values())
        return f"{self._shown} {done}; resolvers may keep old answers for {ttl} s"

    def _moved(self, records: _Records, region: str, to: str | None) -> Weights:
        """Return the weights afterwards. Raises SteeringFailed when a required record does not exist."""
        held = records.weights.held
        kinds = sorted({kind for kind, name in held if name == region})
        needed = [(kind, name) for kind in kinds or self._kinds[:1] for name in (region, to) if name]
        if missing := [slot for slot in needed if slot not in held]:
            names = ", ".join(f"{kind} with SetIdentifier {name}" for kind, name in missing)
            raise SteeringFailed(
                f"zone {self._zone} has no weighted record {self._shown} {names}; make one for each region, with the "
                "region's name as SetIdentifier, or correct MERIDIAN_STEERING"
            )
        return records.weights.back(region) if to is None else records.weights.away(region, to)

    def _read(self, client: Any) -> _Records:
        weighted = {
            (found["Type"], found["SetIdentifier"]): found
            for found in self._list(client, self._name)
            if found["Type"] in self._kinds and "Weight" in found
        }
        notes = [found for found in self._list(client, _KEEPS + "." + self._name) if found["Type"] == "TXT"]
        return _Records(weighted, notes[0] if notes else None)

    def _list(self, client: Any, name: str) -> Iterator[Any]:
        """Yield the zone's records of this name. Route 53 lists the latest change, whether its servers have it or not."""
        start: dict[str, Any] = {"StartRecordName": name}
        while True:
            page = self._call(partial(client.list_resource_record_sets, HostedZoneId=self._zone, **start))
            for found in page["ResourceRecordSets"]:
                if found["Name"] != name:
                    return
                yield found
            if not page["IsTruncated"]:
                return
            start = {
                f"Start{key}": page[f"Next{key}"]
                for key in ("RecordName", "RecordType", "RecordIdentifier")
                if f"Next{key}" in page
            }

    def _send(self, batch: list[Any], comment: str) -> str:
        request = {"Comment": comment, "Changes": batch}
        send = partial(self._client.change_resource_record_sets, HostedZoneId=self._zone, ChangeBatch=request)
        return str(self._call(send, "Whether the weights were changed is not known")["ChangeInfo"]["Id"])

    def _wait(self, change: str) -> None:
        """Wait until every server of Route 53 has the change, usually up to a minute."""
        look = partial(self._client.get_change, Id=change)
        looking = Retrying(
            retry=retry_if_result(lambda status: status != "INSYNC"),
            stop=stop_after_delay(self._seconds),
            wait=wait_fixed(self._pause),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else "",
        )
        status = looking(lambda: self._call(look)["ChangeInfo"]["Status"])
        if status != "INSYNC":
            raise SteeringFailed(
                f"the weights of {self._shown} are changed, but after {self._seconds:.0f} s not all servers of Route 53 "
                f"have them; see `aws route53 get-change --id {change}`, and continue once it reports INSYNC"
            )

    def _call(self, operation: Callable[[], Any], known: str = "Nothing was changed by that") -> Any:
        try:
            return operation()
        except ClientError as error:
            if error_code(error) == "InvalidChangeBatch":
                raise _Changed(error) from None
            raise SteeringFailed(
                f"Route 53 refused for {self._shown} in zone {self._zone}: {error}. Correct MERIDIAN_STEERING, or allow "
                "route53:ListResourceRecordSets, ChangeResourceRecordSets and GetChange"
            ) from None
        except BotoCoreError as error:
            raise SteeringFailed(
                f"Route 53 does not answer for {self._shown}: {error}. {known}; run this again, or change the "
                "weights by hand"
            ) from None


def _changes(before: _Records, after: Weights, notes: str) -> Iterator[Any]:
    """Yield the changes that turn the records as read into `after`."""
    weights = before.weights
    for slot, record in before.weighted.items():
        if after.held[slot] != weights.held[slot]:
            yield from _again(record, Weight=after.held[slot])
    if after.kept != weights.kept:
        if before.notes:
            yield {"Action": "DELETE", "ResourceRecordSet": before.notes}
        if values := sorted(_note(away, slot, weight) for away, own in after.kept.items() for slot, weight in own.items()):
            records = [{"Value": value} for value in values]
            kept = {"Name": notes, "Type": "TXT", "TTL": _KEEPS_TTL, "ResourceRecords": records}
            yield {"Action": "CREATE", "ResourceRecordSet": kept}


def _again(record: Any, **changes: int) -> Iterator[Any]:
    """Yield the changes that rewrite the record, with these values, if it is still as it was read."""
    yield {"Action": "DELETE", "ResourceRecordSet": record}
    yield {"Action": "CREATE", "ResourceRecordSet": {**record, **changes}}


def _note(away: str, slot: Slot, weight: int) -> str:
    return f'"away={away} type={slot[0]} region={slot[1]} weight={weight}"'


def _difference(before: Weights, after: Weights) -> str:
    return ", ".join(
        f"{region} {kind} from {before.held[kind, region]} to {weight}"
        for (kind, region), weight in sorted(after.held.items())
        if weight != before.held[kind, region]
    )


def _as_text(weights: Weights) -> str:
    return ", ".join(f"{region} {kind} {weight}" for (kind, region), weight in sorted(weights.held.items()))
