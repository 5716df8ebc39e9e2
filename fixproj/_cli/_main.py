"""The group of commands."""

import click

from fixproj import __version__
from fixproj._cli._compare import compare
from fixproj._cli._info import info
from fixproj._cli._solve import solve
from fixproj._cli._train import train


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  fixproj train --method projections --dataset digits --network mlp:64,64
  fixproj compare --dataset digits --out out/compare
  fixproj solve sudoku.txt
  fixproj info --json

\b
Return codes: 0 done; 1 input or data is wrong; 2 the command line is wrong;
3 the computation ran but did not succeed (diverged, infeasible, not solved);
130 interrupted.
""",
)
@click.version_option(__version__, prog_name="fixproj")
def fixproj() -> None:
    """Fixed points, feasibility and training by projections, from the shell."""


for command in (compare, info, solve, train):
    fixproj.add_command(command)
