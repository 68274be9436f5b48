"""The one place where weights change: `update("G", gan=..., l1=...)`."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from i2i.errors import Diverged, UserError
from i2i.method import Method
from i2i.training.precision import Precision
from i2i.training.ranks import Ranks

OptimizerName = Literal["adam", "sgd"]


class Updater:
    """One optimizer for each player. A call sums the losses and takes one step for exactly the named players.

    The gradients are those of the classic code that freezes and unfreezes networks, bit for bit and at the same cost, since
    `backward(inputs=...)` visits nothing else; no stray gradient stays behind. `terms` holds the detached losses as
    "player/name" of the first player, until `taken_terms` hands them out. `step` and `epoch` are the clock that methods read.
    """

    def __init__(
        self,
        method: Method,
        *,
        lr: float = 2e-4,
        player_lr: Mapping[str, float] | None = None,
        optimizer: OptimizerName = "adam",
        betas: tuple[float, float] = (0.5, 0.999),
        clip: float | None = None,
        precision: Precision | None = None,
        ranks: Ranks | None = None,
    ):
        self.step, self.epoch = 0, 0.0
        self.betas = betas
        self.precision = precision or Precision("fp32", torch.device("cpu"))
        self.ranks, self.clip = ranks or Ranks(), clip
        self.networks = method.players()
        self.parameters = {name: _parameters(networks) for name, networks in self.networks.items()}
        unknown = (player_lr or {}).keys() - self.networks
        if unknown:
            raise UserError(f"train.player_lr names '{min(unknown)}', but the players are {', '.join(self.networks)}")
        self.rates = {name: (player_lr or {}).get(name, lr) for name in self.networks}
        fused = self.precision.device.type != "mps"
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.SGD(parameters, lr=self.rates[name], fused=fused)
            if optimizer == "sgd"
            else torch.optim.Adam(parameters, lr=self.rates[name], betas=betas, fused=fused)
            for name, parameters in self.parameters.items()
        }
        self.scaler = torch.amp.GradScaler(self.precision.device.type, enabled=self.precision.scaled)
        self.terms: dict[str, Tensor] = {}

    def set_rate(self, factor: float) -> None:
        """Multiply every player's learning rate by `factor` from now on."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * factor

    def __call__(self, *players: str, **losses: Tensor) -> None:
        terms = {f"{players[0]}/{name}": loss.detach() for name, loss in losses.items()}
        if self.precision.device.type == "cpu":  # elsewhere asking would make the host wait at every step
            require_finite(terms)
        self.terms |= terms
        parameters = [p for player in players for p in self.parameters[player]]

        with torch.autocast(self.precision.device.type, enabled=False):
            self.scaler.scale(torch.stack(list(losses.values())).sum()).backward(inputs=parameters)
        self._require_reached(players, losses)

        self.ranks.average([p.grad for p in parameters if p.grad is not None])
        for player in players:
            optimizer = self.optimizers[player]
            self.scaler.unscale_(optimizer)
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.parameters[player], self.clip)
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        # One autocast region spans the whole step, and it would go on using the weights it cast before this update.
        torch.clear_autocast_cache()

    def taken_terms(self) -> dict[str, Tensor]:
        """The losses since this was last asked; those of a player who sat out are not among them."""
        terms, self.terms = self.terms, {}
        return terms

    def _require_reached(self, players: tuple[str, ...], losses: Mapping[str, Tensor]) -> None:
        """`backward(inputs=...)` passes silently over parameters that no loss depends on; they would never learn."""
        for player in players:
            for network in self.networks[player]:
                lost = [name for name, p in network.named_parameters() if p.grad is None]
                if lost:
                    names = ", ".join(losses)
                    raise RuntimeError(f"the losses {names} do not reach {lost[0]} and {len(lost) - 1} more of {player}")

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            for group in optimizer.param_groups:  # settings are those of now; only the moments are those of then
                group["fused"] = optimizer.defaults["fused"]
                if "betas" in group:
                    group["betas"] = self.betas
        self.scaler.load_state_dict(state["scaler"])


def require_finite(terms: Mapping[str, Tensor | float]) -> None:
    """Raise `Diverged`, naming the first term that is infinite or not a number."""
    for name, value in terms.items():
        if not torch.isfinite(torch.as_tensor(value)):
            raise Diverged(f"the loss {name} is {float(value)}")


def _parameters(networks: list[nn.Module]) -> list[nn.Parameter]:
    """Every parameter once, in a fixed order."""
    return list(dict.fromkeys(p for network in networks for p in network.parameters()))
