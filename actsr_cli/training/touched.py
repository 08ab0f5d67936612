"""Updates only the rows of a table that a batch touches, so that a step's time does not grow with the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from actsr_cli.config import TrainingConfig
from actsr_cli.distributed import Workers
from actsr_cli.errors import ConfigError
from actsr_cli.models.base import SequentialModel
from actsr_cli.training.averaging import decay_after, leave_out
from actsr_cli.training.drift import MissedSteps
from actsr_cli.training.losses import PredictionLoss
from actsr_cli.training.optimizer import BETAS, EPS, update_of

_ROWS_AT_A_TIME = 2**11
"""Rows that are brought up to date together: more would need much memory for their missed steps."""
Form = tuple[torch.Size, torch.dtype]


class TouchedTable:
    """A table whose rows are brought up to date when they are read, and its two moments.

    Args:
        table: the table; its gradient becomes sparse.
        missed: the steps so far.
        update: torch's update of parameters by their gradients and moments.
        average: the moving average of the table.

    Attributes:
        seen: (rows,) the step of each row's last gradient; its moments are of this step.
        applied: (rows,) the step up to which its weights, and their average, are up to date.
    """

    def __init__(
        self, table: nn.Embedding, missed: MissedSteps, update: Callable[..., None], average: Tensor | None
    ) -> None:
        table.sparse = True
        table.register_forward_pre_hook(lambda module, inputs: self._read(inputs[0]) if module.training else None)
        self.weight, self.missed, self.update, self.average = table.weight, missed, update, average
        self.restore(None)

    def restore(self, state: Mapping[str, Tensor] | None) -> None:
        """Continue from what `state` returned; None: from a table that was never trained."""
        if state is None:
            never = torch.full((len(self.weight),), -self.missed.horizon, dtype=torch.int32)
            zeros = {key: torch.zeros_like(self.weight, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
            state = {**zeros, "seen": never, "applied": torch.zeros_like(never)}
        self.moments = [state[key].to(self.weight.device) for key in ("exp_avg", "exp_avg_sq")]
        self.seen, self.applied = state["seen"], state["applied"]

    def state(self) -> dict[str, Tensor]:
        """Everything that is needed to continue, except weights, average and steps."""
        return {"exp_avg": self.moments[0], "exp_avg_sq": self.moments[1], "seen": self.seen, "applied": self.applied}

    def share_gradient(self, workers: Workers) -> None:
        """Sum the gradient over all processes; each row is then in it once."""
        if self.weight.grad is None:
            none = self.weight.new_empty(1, 0, dtype=torch.int64), self.weight.new_empty(0, *self.weight.shape[1:])
            self.weight.grad = torch.sparse_coo_tensor(*none, self.weight.shape, check_invariants=False)
        if not self.weight.grad.is_sparse:
            raise ConfigError(
                "training.item_updates: touched cannot train this model: it uses its item table in another way than "
                "by calling it with items",
                hint="Set training.item_updates=all.",
            )
        gradient = self.weight.grad.coalesce()
        if workers.count > 1:
            rows, values = workers.gather(gradient.indices()[0]), workers.gather(gradient.values())
            gradient = torch.sparse_coo_tensor(
                rows.unsqueeze(0), values, gradient.shape, check_invariants=False
            ).coalesce()
        self.weight.grad = gradient

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the rows that have a gradient, as step number `missed.step` + 1, and forget the gradient."""
        if self.weight.grad is None:
            return
        gradient = self.weight.grad.coalesce()
        self.weight.grad = None
        rows, here = gradient.indices()[0], gradient.indices()[0].cpu()
        if not len(rows):
            return
        self._catch_up(here)
        now = self.missed.step + 1
        fading = (now - 1 - self.seen[here]).double().unsqueeze(1)
        moments = [moment[rows] * _like(beta**fading, moment) for moment, beta in zip(self.moments, BETAS, strict=True)]
        weights = self.weight[rows]
        step = torch.full((), now - 1.0, device=weights.device)
        self.update([weights], [gradient.values()], [moments[0]], [moments[1]], [], [step], lr=rate)
        for kept, values in zip([self.weight, *self.moments], [weights, *moments], strict=True):
            kept.index_copy_(0, rows, values)
        if self.average is not None and self.missed.decay_after is not None:
            averaged = self.average[rows].lerp_(weights, 1 - self.missed.decay_after(now - 1))
            self.average.index_copy_(0, rows, averaged)
        self.seen[here] = self.applied[here] = now

    @torch.no_grad()
    def catch_up_all(self) -> None:
        """Bring all rows up to date."""
        for start in range(0, len(self.weight), _ROWS_AT_A_TIME):
            self._catch_up(torch.arange(start, min(start + _ROWS_AT_A_TIME, len(self.weight))))

    @torch.no_grad()
    def _read(self, ids: Tensor) -> None:
        self._catch_up(torch.unique(ids).cpu())

    def _catch_up(self, here: Tensor) -> None:
        """Bring rows up to date, (rows,) of them on the CPU, each once."""
        here = here[self.missed.behind(self.seen[here], self.applied[here])]
        if not len(here):
            return
        drift, rows = self.missed.drift(self.seen[here], self.applied[here]), here.to(self.weight.device)
        weights, (first, second) = self.weight[rows], (moment[rows] for moment in self.moments)
        move = first.div_(second.sqrt_().add_(_like(drift.floor, weights)))
        if self.average is not None and drift.average is not None:
            kept, of_weights, of_moves = (_like(factor, weights) for factor in drift.average)
            averaged = self.average[rows].mul_(kept).add_(weights * of_weights).sub_(move * of_moves)
            self.average.index_copy_(0, rows, averaged)
        if self.missed.weight_decay:
            weights.mul_(_like(drift.kept, weights))
        self.weight.index_copy_(0, rows, weights.sub_(move.mul_(_like(drift.moved, weights))))
        self.applied[here] = self.missed.step


def _like(factors: Tensor, values: Tensor) -> Tensor:
    return factors.to(values)


class TouchedTables:
    """The tables of a training of which only touched rows are updated; none with `item_updates: all`.

    Weights are nearly those of `item_updates: all`: a row that was not touched for some steps gets what they have
    changed before it is read again (`MissedSteps` says how, and what differs), and all rows at the end of an epoch.

    Args:
        model: the model to train; its tables change the way in which they are read.
        config: the settings of the training.
        loss: the prediction loss.
        average: the moving average of the model, which leaves the updates of the tables to this class.

    Raises:
        ConfigError: the model or the loss does not look up some rows of a table.
    """

    def __init__(
        self, model: SequentialModel, config: TrainingConfig, loss: PredictionLoss, average: AveragedModel | None
    ) -> None:
        self.by_name: dict[str, TouchedTable] = {}
        self.missed: MissedSteps | None = None
        if config.item_updates == "all":
            return
        tables = _tables_of(model, loss)
        decayed = config.weight_decay if config.optimizer == "adamw" else 0.0
        decays = partial(decay_after, config.ema) if average is not None else None
        self.missed = MissedSteps(BETAS, EPS, decayed, decays, next(iter(tables.values())).weight.dtype)
        update = update_of(config)
        averaged = {} if average is None else dict(average.module.named_parameters())
        for name, table in tables.items():
            self.by_name[name] = TouchedTable(table, self.missed, update, averaged.get(name))
        if average is not None:
            leave_out(average, config.ema, [averaged[name] for name in tables])

    def __iter__(self) -> Iterator[TouchedTable]:
        return iter(self.by_name.values())

    def others(self, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        """The parameters that are not tables."""
        tables = {id(table.weight) for table in self}
        return [parameter for parameter in parameters if id(parameter) not in tables]

    def share_gradients(self, workers: Workers) -> None:
        """Sum the gradients of the tables over all processes; every process must call it."""
        for table in self:
            table.share_gradient(workers)

    def step(self, rate: float) -> None:
        """Take an optimizer step with a learning rate."""
        for table in self:
            table.step(rate)
        if self.missed is not None:
            self.missed.add(rate)

    def state(self) -> dict[str, Tensor]:
        """Everything that is needed to continue, except weights and average."""
        if self.missed is None:
            return {}
        steps = {"step": torch.tensor(self.missed.step), "rates": torch.tensor(self.missed.rates, dtype=torch.float64)}
        return steps | (self._rows() if self.missed.step else {})

    def forms(self, state: Mapping[str, Tensor]) -> dict[str, Form]:
        """Shapes and kinds that the tensors of a state must have; it may be forged."""
        if self.missed is None:
            return {}
        wanted = {"step": torch.tensor(0), "rates": state.get("rates", torch.empty(0)).flatten().double()}
        begun = "step" not in state or bool(state["step"].any())
        return {name: (each.shape, each.dtype) for name, each in (wanted | (self._rows() if begun else {})).items()}

    def follows(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the steps of a state, which has the right forms, fit one another."""
        if self.missed is None:
            return True
        step, latest = int(state["step"]), len(state["rates"])
        rows = [(state[f"seen.{name}"], state[f"applied.{name}"]) for name in self.by_name] if step else []
        return 0 <= latest <= step and all(
            bool(((seen <= applied) & (applied <= step)).all())
            and bool((applied >= step - latest)[self.missed.behind(seen, applied, step)].all())
            for seen, applied in rows
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        if self.missed is not None:
            self.missed.restore(int(state["step"]), state["rates"].tolist())
        for name, table in self.by_name.items():
            of_table = {key: state[f"{key}.{name}"] for key in table.state()} if f"seen.{name}" in state else None
            table.restore(of_table)

    def _rows(self) -> dict[str, Tensor]:
        return {f"{key}.{name}": each for name, table in self.by_name.items() for key, each in table.state().items()}

    def catch_up(self) -> None:
        """Bring all rows of all tables up to date."""
        for table in self:
            table.catch_up_all()
        if self.missed is not None:
            self.missed.forget()


def _tables_of(model: SequentialModel, loss: PredictionLoss) -> dict[str, nn.Embedding]:
    """The tables that are trained, by the name of their parameter.

    Raises:
        ConfigError: see `TouchedTables`.
    """
    if type(loss).draw is PredictionLoss.draw:
        raise ConfigError(
            f"training.item_updates: touched needs a loss that draws negatives: {loss.options.name} draws none"
        )
    names = {id(module): name for name, module in model.named_modules()}
    tables = {f"{names[id(table)]}.weight": table for table in model.tables() if table.weight.requires_grad}
    if not tables:
        raise ConfigError(
            f"training.item_updates: touched needs a model with a trained item table: the item_vectors of "
            f"{model.config.name} are no nn.Embedding's weight"
        )
    return tables
