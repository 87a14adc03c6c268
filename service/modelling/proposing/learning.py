"""How large a network, and how it learns: by rows and features."""

import math
from dataclasses import dataclass

from service.modelling.proposing.goal import Goal
from service.modelling.proposing.reasons import Draft, share
from traind.v1 import learning_pb2, networks_pb2

# Below so many rows a linear map is all that can be told from chance.
FEWEST_ROWS_FOR_HIDDEN = 50
# Hidden layers by training rows: the first bound that they stay below.
HIDDEN = ((1_000, (16,)), (10_000, (32,)), (100_000, (64, 32)), (math.inf, (128, 64)))
# With fewer training rows for each feature a network is held back more.
CROWDED = 50
LR = 0.003
# Steps that an untouched job makes at most, and how many make an epoch.
STEPS = 3_000
STEPS_IN_EPOCH = 32


@dataclass(frozen=True)
class Size:
    """What a network and its learning are measured by."""

    rows: int  # to train with
    features: int

    @property
    def crowded(self) -> bool:
        """Whether there are few rows for each feature."""
        return self.rows < CROWDED * self.features

    @property
    def batch(self) -> int:
        """Rows in a step: a power of two, so that an epoch has about 32 steps."""
        wanted = 1 << int(math.log2(max(self.rows / STEPS_IN_EPOCH, 16)))
        return min(wanted, 1024, self.rows)

    @property
    def epochs(self) -> int:
        """Passes: as many as make 3,000 steps, 10 at least and 300 at most."""
        return min(max(math.ceil(STEPS / math.ceil(self.rows / self.batch)), 10), 300)


def propose_learning(draft: Draft, goal: Goal, *, width: int, held_out: bool) -> None:
    """Choose network, optimizer and when to stop."""
    size = Size(max(1, goal.rows - round(0.2 * goal.rows)) if held_out else goal.rows, max(1, width))
    _network(draft, size)
    gradient = draft.spec.learn.gradient
    _optimizer(draft, gradient, size)
    gradient.batch_size, gradient.epochs = size.batch, size.epochs
    steps = math.ceil(size.rows / size.batch)
    draft.because(
        "learn.gradient.batch_size",
        f"{size.rows:,} training rows in batches of {size.batch:,} are {steps:,} steps an epoch.",
        f"학습 행 {size.rows:,}개를 {size.batch:,}개씩 나누면 한 에포크가 {steps:,}걸음입니다.",
    )
    draft.because(
        "learn.gradient.epochs",
        f"{size.epochs:,} epochs of {steps:,} steps are {size.epochs * steps:,} steps.",
        f"{steps:,}걸음씩 {size.epochs:,} 에포크이면 {size.epochs * steps:,}걸음입니다.",
    )
    if held_out:
        _stopping(draft, gradient, size, goal.rows - size.rows)


def _network(draft: Draft, size: Size) -> None:
    rows, features = f"{size.rows:,}", f"{size.features:,}"
    if size.rows < FEWEST_ROWS_FOR_HIDDEN and not _embeds(draft):
        draft.spec.network.linear.SetInParent()
        draft.because(
            "network.linear",
            f"{rows} training rows and about {features} features: more than a linear map would be learned by heart.",
            f"학습 행은 {rows}개, 특징은 약 {features}개입니다. 선형보다 복잡하면 외워 버립니다.",
        )
        return
    hidden = next(widths for bound, widths in HIDDEN if size.rows < bound)
    draft.spec.network.mlp.hidden.extend(hidden)
    draft.spec.network.mlp.activation = networks_pb2.Network.RELU
    told = " x ".join(map(str, hidden))
    draft.because(
        "network.mlp.hidden",
        f"{rows} training rows and about {features} features: {told} neurons are enough.",
        f"학습 행은 {rows}개, 특징은 약 {features}개입니다. 뉴런 {told}개면 충분합니다.",
    )
    if size.crowded:
        draft.spec.network.mlp.dropout = 0.2
        each = f"{size.rows / size.features:.1f}"
        draft.because(
            "network.mlp.dropout",
            f"Only {each} training rows for each feature (fewer than {CROWDED}): {share(0.2)} of the neurons rest.",
            f"특징 하나에 학습 행이 {each}개뿐입니다({CROWDED}개 미만). 뉴런의 {share(0.2)}를 쉬게 합니다.",
        )


def _embeds(draft: Draft) -> bool:
    """Whether vectors are learned, which a linear map alone does not use well."""
    return any(group.encode.HasField("embedding") for group in draft.spec.preprocess.groups)


def _optimizer(draft: Draft, gradient: learning_pb2.Gradient, size: Size) -> None:
    adamw = gradient.optimizer.adamw
    small = draft.spec.network.HasField("linear")
    adamw.lr = 0.02 if small else LR
    adamw.weight_decay = 0.1 if size.crowded else 0.01
    each = f"{size.rows / size.features:.1f}"
    draft.because(
        "learn.gradient.optimizer.adamw",
        f"{each} training rows for each feature: weights are held back by a decay of {adamw.weight_decay:g}; at a rate "
        f"of {adamw.lr:g} a few hundred steps suffice.",
        f"특징 하나에 학습 행이 {each}개입니다. 가중치 감쇠 {adamw.weight_decay:g}로 가중치를 누르고, 학습률 "
        f"{adamw.lr:g}이면 수백 걸음으로 충분합니다.",
    )


def _stopping(draft: Draft, gradient: learning_pb2.Gradient, size: Size, held: int) -> None:
    patience = max(3, min(15, size.epochs // 4))
    gradient.early_stopping.patience = patience
    gradient.keep = learning_pb2.Gradient.BEST
    draft.because(
        "learn.gradient.early_stopping",
        f"It ends when the loss of {held:,} held-out rows has not fallen for {patience} epochs; the best epoch is "
        "kept.",
        f"떼어 둔 {held:,}개 행의 손실이 {patience} 에포크 동안 줄지 않으면 끝내고, 가장 좋은 에포크를 남깁니다.",
    )
