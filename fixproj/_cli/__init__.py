"""The parts of the `fixproj` command."""

from fixproj._cli._main import fixproj as fixproj
