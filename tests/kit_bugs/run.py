# mypy: ignore-errors
"""Runs, for each bug, the check that must find it; the same for the provider without it; and a report in XML.

The bugs' words go into ``bugs.json``: by class, the check, what its message must say, and the good provider.
"""

import json
import sys
from pathlib import Path

import pytest
from tests.kit_bugs import answers, good, network, requests, safety, special, the_ten, unusual

OPTIONS = ["-q", "--tb=native", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "promptport.testing.plugin"]
HOMES = {"TestGood": good, "TestBedrock": good, "TestEndsByBytes": unusual}


def main(folder, what):
    options = [*OPTIONS, f"--config-file={folder}/pytest.ini", f"--rootdir={folder}"]
    if what == "unusual":
        places = [f"{unusual.__file__}::{cls.__name__}" for cls in unusual.UNUSUAL]
    else:
        bugs = {}
        for module in (the_ten, answers, network, requests, safety, special):
            for name, cls in vars(module).items():
                if name.startswith("Test") and cls.__module__ == module.__name__:
                    bugs[name] = [module.__file__, cls.found_by, cls.says, cls.good]
        places = [f"{place}::{name}::{check}" for name, (place, check, _, _) in bugs.items()]
        places += [f"{HOMES[name].__file__}::{name}::{check}" for _, check, _, name in bugs.values()]
        places += [f"{good.__file__}::TestHandMade"]
        Path(folder, "bugs.json").write_text(json.dumps({name: rest for name, (_, *rest) in bugs.items()}))
    pytest.main([*options, f"--junitxml={folder}/report.xml", *dict.fromkeys(places)])


main(*sys.argv[1:])
