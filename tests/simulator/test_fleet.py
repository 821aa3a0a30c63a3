"""Many devices in one process, from the first Register to the last Deregister."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from appliance.simulator import SimulatorOptions, run
from tests.simulator.scripted import ScriptedServer


def test_a_fleet_registers_runs_and_deregisters(tmp_path: Path, capsys) -> None:
    async def scenario() -> None:
        server = await ScriptedServer().open()
        stop = asyncio.Event()
        options = SimulatorOptions(server=server.uri, count=20, ledger=tmp_path / "ledger", seed=1)
        running = asyncio.create_task(run(options, stop=stop))
        await server.until(lambda: len(server.registers) == 20)
        assert len({frame.peer for frame in server.registers}) == 20
        stop.set()
        assert await running == 0
        assert len(server.deregisters) == 20
        await server.close()

    asyncio.run(scenario())
    lines = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
    assert {line["endpoint_name"] for line in lines} == {f"sim-{number:04d}" for number in range(1, 21)}
    said = capsys.readouterr().out
    assert "all 20 registered" in said
    assert "20 registrations, 0 updates" in said


def test_a_server_that_never_answers_is_a_failure_with_a_reason(capsys) -> None:
    async def scenario() -> None:
        server = await ScriptedServer(welcoming=False).open()
        options = SimulatorOptions(server=server.uri, duration_s=0.2, ack_timeout_s=0.01, max_retransmit=1)
        assert await run(options) == 1
        await server.close()

    asyncio.run(scenario())
    assert "1 never registered (no answer)" in capsys.readouterr().out


def test_a_refused_register_is_a_failure_with_the_servers_words(capsys) -> None:
    async def scenario() -> None:
        server = await ScriptedServer(welcoming=False).open()
        running = asyncio.create_task(
            run(SimulatorOptions(server=server.uri), stop=(stop := asyncio.Event()))
        )
        await server.until(lambda: server.registers)
        server.answer(server.registers[0], 0x8C, payload=b"no such version")
        await server.until(lambda: len(server.registers) == 2)  # it heard the refusal and tries again
        stop.set()
        assert await running == 1
        await server.close()

    asyncio.run(scenario())
    assert "4.12 Precondition Failed: no such version" in capsys.readouterr().out


def test_options_that_do_not_work_are_told(tmp_path: Path, capsys) -> None:
    missing = SimulatorOptions(objects=tmp_path / "none.toml")
    assert asyncio.run(run(missing)) == 2
    assert "cannot be read" in capsys.readouterr().err
