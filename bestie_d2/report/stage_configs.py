"""The configurations of a pipeline's trainings, of which some may not be right yet."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode

from bestie_d2.engine.command_line import reason_of
from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.stages import StageJob


@dataclass(frozen=True)
class StageConfigs:
    """What could be loaded, which registers the data sets too.

    Attributes:
        trainings: by kind of stage, of the last one of that kind.
        problems: why a stage cannot be run as it is, by its name.
    """

    trainings: dict[str, CfgNode]
    problems: dict[str, str]

    @staticmethod
    def load(pipeline: Pipeline) -> StageConfigs:
        """Load those of all trainings."""
        trainings, problems = {}, {}
        for name, entry in pipeline.stages.items():
            if not pipeline.kind_of(name).trains:
                continue
            try:
                trainings[entry.kind] = StageJob.load(pipeline, name).configs[name]
            except Exception as error:
                problems[name] = reason_of(error)
        return StageConfigs(trainings, problems)

    @property
    def teaching(self) -> CfgNode:
        """That of the last stage that trains BESTIE, or of the last training where none does.

        Raises:
            InputError: no training is configured rightly.
        """
        if not self.trainings:
            raise InputError(next(iter(self.problems.values()), "no stage trains anything"))
        last = list(self.trainings.values())[-1]
        return self.trainings.get("bestie", last)
