"""Figures that are told after each epoch: do they fit the targets?"""

from service.modelling.resolving.draft import Draft
from traind.v1 import specs_pb2

TrainSpec = specs_pb2.TrainSpec
OF_NUMBERS = frozenset({TrainSpec.MAE, TrainSpec.MSE, TrainSpec.RMSE, TrainSpec.R2})


def check_measures(draft: Draft, *, classes: bool) -> None:
    """Refuse figures of numbers for classes, and the other way round."""
    for index, measure in enumerate(draft.spec.every_epoch):
        if (measure in OF_NUMBERS) == classes:
            name = TrainSpec.Measure.Name(measure)
            fitting = [m for m in TrainSpec.Measure.values() if m and (m in OF_NUMBERS) != classes]
            use = ", ".join(TrainSpec.Measure.Name(m) for m in fitting)
            holds = "classes" if classes else "numbers"
            draft.refuse(f"every_epoch[{index}]", f"{name} does not fit a target of {holds}; there are {use}")
