"""MERIDIAN_STEERING is read once, and what it cannot mean is refused with the value and the remedy."""

from __future__ import annotations

import pytest

from replicator.domain.errors import InvalidConfig, InvalidName
from replicator.ops.steering import SteeringFailed, read_steering
from replicator.ops.steering.arc import Arc
from replicator.ops.steering.local_file import LocalFile
from replicator.ops.steering.nobody import Nobody
from replicator.ops.steering.route53 import Route53

CLUSTER = "arn:aws:route53-recovery-control::123456789012:cluster/5678abcd-abcd-5678-abcd-5678abcdefgh"
CONTROL = "arn:aws:route53-recovery-control::123456789012:controlpanel/0123456bbbbbbb/routingcontrol/abcdefg"


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Nobody),
        ("nobody", Nobody),
        ("file:/var/lib/meridian/steering.json", LocalFile),
        ("route53:Z0123456789ABC/www.example.com", Route53),
        ("route53:Z0123456789ABC/www.example.com./AAAA", Route53),
        (f"arc:{CLUSTER}/us-east-1={CONTROL}1,eu-west-1={CONTROL}2", Arc),
    ],
)
def test_every_form_is_read(text: str, kind: type) -> None:
    assert type(read_steering({"MERIDIAN_STEERING": text})) is kind


def test_nobody_is_the_default() -> None:
    assert type(read_steering({})) is Nobody


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("everybody", "'everybody'; write one of nobody, file:/path"),
        ("nobody:else", "'nobody:else'"),
        ("file:steering.json", "'steering.json', which is not a file's absolute path"),
        ("file:/", "'/', which is not a file's absolute path"),
        ("route53:www.example.com", "'www.example.com', which is not a record of a hosted zone"),
        ("route53:Z0123456789ABC/*.example.com", "which is not a record of a hosted zone"),
        ("route53:Z0123456789ABC/www.example.com/MX", "the type MX; choose from A, AAAA, CNAME"),
        (f"arc:us-east-1={CONTROL}", "which does not begin with a cluster ARN"),
        (
            f"arc:{CLUSTER}/us-east-1=on,eu-west-1={CONTROL}",
            "gives us-east-1 'on', which is not the ARN of a routing control",
        ),
        (f"arc:{CLUSTER}/here={CONTROL},eu-west-1={CONTROL}", "region 'here' is not an AWS region name"),
        (f"arc:{CLUSTER}/us-east-1={CONTROL},us-east-1={CONTROL}2", "names us-east-1 twice"),
        (f"arc:{CLUSTER}/us-east-1={CONTROL}", "for us-east-1 only; name every region's"),
    ],
)
def test_nonsense_is_refused_with_the_value_and_the_remedy(text: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        read_steering({"MERIDIAN_STEERING": text})
    assert said in str(refused.value)


def test_endpoints_that_are_no_urls_are_refused() -> None:
    text = f"arc:{CLUSTER}/us-east-1={CONTROL}1,eu-west-1={CONTROL}2"
    with pytest.raises(InvalidConfig, match="MERIDIAN_STEERING_ENDPOINTS gives us-east-1 'ftp', which is not a URL"):
        read_steering({"MERIDIAN_STEERING": text, "MERIDIAN_STEERING_ENDPOINTS": "us-east-1=ftp"})


def test_nobody_says_what_is_left_to_do() -> None:
    steering = read_steering({})
    assert "send the writers of us-east-1 to eu-west-1 yourself" in steering.away("us-east-1", "eu-west-1")
    assert steering.plan("us-east-1", "eu-west-1") == steering.away("us-east-1", "eu-west-1")
    assert "let the writers of us-east-1 return to it yourself" in steering.back("us-east-1")
    assert steering.plan("us-east-1", None) == steering.back("us-east-1")


@pytest.mark.parametrize(
    "text", ["", "file:/nowhere/steering.json", f"arc:{CLUSTER}/us-east-1={CONTROL},eu-west-1={CONTROL}"]
)
def test_a_region_cannot_be_sent_to_itself_or_to_no_region(text: str) -> None:
    steering = read_steering({"MERIDIAN_STEERING": text})
    with pytest.raises(SteeringFailed, match="us-east-1 cannot be sent to us-east-1 itself"):
        steering.away("us-east-1", "us-east-1")
    with pytest.raises(InvalidName):
        steering.away("us-east-1", "mars")
