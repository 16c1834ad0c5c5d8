"""What a check found, and how it is shown."""

from dataclasses import dataclass
from typing import Literal

import click

Verdict = Literal["ok", "warn", "fail", "skip"]
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}


@dataclass(frozen=True)
class Finding:
    """About one thing; `advice` is what to do."""

    subject: str
    verdict: Verdict
    says: str
    advice: str = ""


def print_finding(finding: Finding) -> None:
    """One line, and one for the advice."""
    verdict = click.style(f"{finding.verdict:<4}", fg=COLOURS[finding.verdict])
    click.echo(f"{verdict}  {finding.subject:<10}  {finding.says}")
    if finding.advice:
        click.echo(f"{'':18}{finding.advice}")
