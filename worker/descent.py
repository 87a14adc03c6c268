"""The gradient loop of a job, from its resolved spec: what the loop is told, and by what a step is computed."""

from collections.abc import Sequence

from service.modelling import losses, networks, optimizers
from service.modelling.measuring import EpochMeasures
from service.modelling.networks import TraindNetwork
from traind.v1 import learning_pb2, specs_pb2
from worker.autograd_step import AutogradStep
from worker.checkpoints import LearnState
from worker.loop import Plan, Step
from worker.written_out import WrittenOut


def begin(
    network: TraindNetwork, spec: specs_pb2.TrainSpec, classes: Sequence[str], device: str
) -> tuple[LearnState, Step]:
    """The state before the first step, its weights drawn by the seed, and the step; a checkpoint can be restored then.

    `classes` are the target's in the order of their codes, empty for numbers.
    """
    state, gradient = LearnState.begin(network, spec.seed), spec.learn.gradient
    networks.draw_weights(network, state.order)
    network.to(device)
    if gradient.path == learning_pb2.Gradient.WRITTEN_OUT:
        return state, WrittenOut(state, spec, classes)
    state.optimizer = optimizers.build_optimizer(gradient.optimizer, network.parameters())
    return state, AutogradStep(network, losses.build_loss(spec.loss, classes), state.optimizer, gradient.clip)


def plan_of(spec: specs_pb2.TrainSpec, classes: Sequence[str], every_epoch: EpochMeasures | None = None) -> Plan:
    """What the loop is told."""
    return Plan(losses.build_loss(spec.loss, classes), bool(classes), spec.learn.gradient, every_epoch)
