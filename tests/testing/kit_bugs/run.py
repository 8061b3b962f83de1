# mypy: ignore-errors
"""Runs, for each bug, the check that must find it; all of these for the good provider; and a report in XML."""

import sys

import pytest
from tests.testing.kit_bugs import answers, good, network, requests, safety, the_ten
from tests.testing.kit_bugs.lab import Bug

OPTIONS = ["-q", "--tb=native", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "promptport.testing.plugin"]


def main(folder):
    chosen = {}
    for module in (the_ten, answers, network, requests, safety):
        for name, cls in vars(module).items():
            if name.startswith("Test") and issubclass(cls, Bug):
                chosen[f"{module.__file__}::{name}"] = cls.found_by
    places = [f"{place}::{check}" for place, check in chosen.items()]
    places += [f"{good.__file__}::TestGood::{check}" for check in dict.fromkeys(chosen.values())]
    options = [*OPTIONS, f"--config-file={folder}/pytest.ini", f"--rootdir={folder}"]
    pytest.main([*options, f"--junitxml={folder}/report.xml", *places, f"{good.__file__}::TestHandMade"])


main(sys.argv[1])
