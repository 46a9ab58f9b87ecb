"""Simulated world: its regions, the sessions that write and read in them, and the operator."""

from __future__ import annotations

from chaos.simulator.environment import Options
from chaos.simulator.simulated_operator import Operator
from chaos.simulator.simulated_processes import replicator_of
from chaos.simulator.simulated_region import Regions
from chaos.simulator.simulated_sessions import Session


class World(Regions):
    """Everything that a step acts on. To be used while `simulated_time.simulated(world)` is open."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.sessions = [
            Session(self, f"s{number}", options.names[number % options.regions]) for number in range(options.sessions)
        ]
        self.operator = Operator(self, self.sessions)

    def begin(self) -> None:
        """Give every region its role, as at its set-up."""
        for region in self.regions.values():
            replicator_of(self, region).adopter.adopt()

    def session(self, number: int) -> Session:
        return self.sessions[number % len(self.sessions)]
