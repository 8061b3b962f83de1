"""`DurableAgent`: a run that waits for a person, over the end of its process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journal.postgres_server import PostgresServer

import promptport as pp
from promptport.testing import ScriptedExecutor

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, json, sys
import promptport as pp
from dbos import DBOS
from promptport.journal.dbos import DurableAgent
from promptport.testing import ScriptedExecutor

url, step, effects = sys.argv[1:]

@pp.tool(needs_approval=True)
def refund(order: str) -> str:
    '''Refund.'''
    with open(effects, "a") as file:
        file.write(pp.current_call().key + "\\n")
    return f"refunded {order}"

answers = [[pp.ToolCall("call_1", "refund", '{"order": "17"}')], ["It is done."]]
if step != "start":
    answers = answers[1:]
DBOS(config={"name": "shop", "system_database_url": url, "application_version": "1", "log_level": "ERROR"})
agent = DurableAgent("support", ScriptedExecutor(*answers), [refund], model="scripted/m")
DBOS.launch()

async def main():
    if step == "start":
        await agent.start("Refund order 17", run="order-17")
        calls = await agent.pending("order-17")
        print(json.dumps([call.name for call in calls]), flush=True)
        await asyncio.sleep(60)
    try:
        await agent.decide("order-17", {"call_9": True})
    except pp.InvalidInputError as error:
        assert "call_1" in str(error), error
    await agent.decide("order-17", {"call_1": True})
    print(json.dumps((await agent.message("order-17")).text), flush=True)

try:
    asyncio.run(main())
finally:
    DBOS.destroy()
"""


def approve_after_a_restart(url: str, place: Path, server: PostgresServer | None) -> None:
    command = [sys.executable, "-c", PROGRAM, url]
    effects = place / "effects"
    first = subprocess.Popen([*command, "start", str(effects)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert json.loads(first.stdout.readline()) == ["refund"]
    finally:
        first.kill()
        first.communicate()
    if server is not None:
        server.restart()
    second = subprocess.run(
        [*command, "decide", str(effects)], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    assert second.returncode == 0, second.stderr[-2000:]
    assert json.loads(second.stdout) == "It is done."
    (key,) = effects.read_text().splitlines()
    assert key.startswith("order-17/0/0/")


@pytest.mark.timeout(200)
def test_an_approval_given_after_the_process_was_restarted(tmp_path: Path) -> None:
    approve_after_a_restart(f"sqlite:///{tmp_path}/shop.sqlite", tmp_path, None)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_approval_given_after_the_process_and_the_database_were_restarted(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        approve_after_a_restart(server.url, tmp_path, server)


def test_a_journal_of_dbos_is_made_in_a_workflow() -> None:
    from promptport.journal.dbos import DbosJournal, DurableAgent

    with pytest.raises(pp.InvalidInputError, match="workflow"):
        DbosJournal()
    with pytest.raises(pp.InvalidInputError, match="max_steps"):
        DurableAgent("x", ScriptedExecutor(), model="scripted/m", max_steps=0)


TAKE_OVER = """
import asyncio, json, sys
import promptport as pp
from dbos import DBOS
from promptport.journal.dbos import DurableAgent, take_over
from promptport.testing import ScriptedExecutor

url, step = sys.argv[1:]

@pp.tool(repeatable=True)
async def wait() -> str:
    '''Wait.'''
    if step == "start":
        print("running", flush=True)
        await asyncio.sleep(60)
    return "waited"

class Leases:
    led = {"run"}
    async def is_led(self, run):
        return run in self.led

answers = [[pp.ToolCall("call_1", "wait", "{}")], ["It is done."]]
DBOS(config={"name": "shop", "system_database_url": url, "application_version": "1", "executor_id": step,
    "log_level": "ERROR"})
agent = DurableAgent("waiting", ScriptedExecutor(*(answers if step == "start" else answers[1:])), [wait],
    model="scripted/m", start="on_finish")
DBOS.launch()

async def main():
    if step == "start":
        await agent.start("Go", run="run")
        await asyncio.sleep(60)
    assert await take_over(Leases()) == []
    Leases.led = set()
    assert await take_over(Leases()) == ["run"]
    print(json.dumps((await agent.message("run")).text), flush=True)

try:
    asyncio.run(main())
finally:
    DBOS.destroy()
"""


@pytest.mark.timeout(200)
def test_the_run_of_a_dead_executor_is_taken_over_when_nobody_holds_its_lease(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE_OVER, f"sqlite:///{tmp_path}/shop.sqlite"]
    first = subprocess.Popen([*command, "start"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "running\n"
    finally:
        first.kill()
        first.communicate()
    second = subprocess.run([*command, "second"], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert second.returncode == 0, second.stderr[-2000:]
    assert json.loads(second.stdout) == "It is done."


TWO_PAUSES = """
import asyncio, sys
import promptport as pp
from dbos import DBOS
from promptport.journal.dbos import DbosJournal, DurableAgent
from promptport.testing import ScriptedExecutor

ran = []

@pp.tool(needs_approval=True)
def refund(order: str) -> str:
    '''Refund.'''
    ran.append(order)
    return f"refunded {order}"

@pp.tool
async def nested() -> str:
    '''Make a journal where none can be.'''
    DbosJournal()
    return "made"

pick = pp.ToolDescriptor("pick", parameters={"type": "object", "properties": {}})
both = [pp.ToolCall("c1", "refund", '{"order": "1"}'), pp.ToolCall("c2", "pick", "{}")]
DBOS(config={"name": "shop", "system_database_url": sys.argv[1], "application_version": "1", "log_level": "ERROR"})
answers = [both, [pp.ToolCall("c3", "refund", '{"order": "2"}'), pp.ToolCall("c4", "nested", "{}")], ["Done"]]
agent = DurableAgent("support", ScriptedExecutor(*answers), [refund, pick, nested], model="scripted/m")
broken = DurableAgent("broken", ScriptedExecutor([pp.RateLimitError("busy", provider="p", retry_after=3.0)]),
    model="scripted/m")
DBOS.launch()

async def refused(word, *given, **results):
    try:
        await agent.decide("run", *given, **results)
    except pp.InvalidInputError as error:
        assert "decide()" in str(error) and word in str(error), error
    else:
        raise AssertionError(f"{given} {results} was taken")

async def main():
    await agent.start("Go", run="run")
    assert [call.id for call in await agent.pending("run")] == ["c1", "c2"]
    await refused("c2", {"c1": True})
    await refused("c1", results={"c2": "red"})
    await refused("c2", {"c1": True, "c2": True})
    await refused("c1", results={"c1": "red", "c2": "red"})
    await refused("NoneType", {"c1": None}, results={"c2": "red"})
    await refused("int", {"c1": 1}, results={"c2": "red"})
    await refused("not usable", {"c1": True}, results={"c2": object()})
    await agent.decide("run", {"c1": True}, results={"c2": {"color": "red"}})
    assert [call.id for call in await agent.pending("run")] == ["c3"]
    await refused("c3", {"c1": True}, results={"c2": "blue"})
    await agent.decide("run", {"c3": "too dear"})
    assert (await agent.message("run")).text == "Done"
    assert await agent.pending("run") == ()
    await refused("does not wait", {"c3": True})
    assert ran == ["1"], ran
    await broken.start("Go", run="broken")
    try:
        await broken.message("broken")
    except pp.RateLimitError as error:
        assert (error.provider, error.retry_after) == ("p", 3.0)
    else:
        raise AssertionError("it did not fail")
    assert await broken.pending("broken") == ()
    print("right", flush=True)

try:
    asyncio.run(main())
finally:
    DBOS.destroy()
"""


@pytest.mark.timeout(120)
def test_each_pause_is_decided_once_and_what_no_run_can_take_is_not_sent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO_PAUSES, f"sqlite:///{tmp_path}/shop.sqlite"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr[-3000:]
