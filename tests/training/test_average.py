import pytest
import torch
from torch import nn

from i2i.method import Method
from i2i.training.average import Average


class Drawn(Method):
    """A method that consists of some generators."""

    def __init__(self, **networks: nn.Module):
        nn.Module.__init__(self)
        for name, module in networks.items():
            setattr(self, name, module)

    def generators(self) -> dict[str, nn.Module]:
        return dict(self.named_children())


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def fill(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(value)


def test_it_starts_as_a_copy_of_the_weights() -> None:
    G = network()
    average = Average(Drawn(G=G), 0.9)
    assert list(average.state_dict()) == [f"G.{key}" for key in G.state_dict()]
    assert all(torch.equal(average.shadow[f"G.{key}"], t) for key, t in G.state_dict().items())
    fill(G, 5)
    assert not (average.shadow["G.0.weight"] == 5).any()


def test_a_late_update_is_the_formula() -> None:
    G = network()
    fill(G, 1.0)
    average = Average(Drawn(G=G), 0.9)
    fill(G, 2.0)
    average.update(10_000)
    torch.testing.assert_close(average.shadow["G.0.weight"], torch.full((2, 1, 3, 3), 0.9 * 1 + 0.1 * 2))


@pytest.mark.parametrize(("step", "decay"), [(1, 2 / 11), (10, 11 / 20), (100_000, 0.999)])
def test_early_on_the_decay_is_smaller(step, decay) -> None:
    G = network()
    fill(G, 0.0)
    average = Average(Drawn(G=G), 0.999)
    fill(G, 1.0)
    average.update(step)
    torch.testing.assert_close(average.shadow["G.0.bias"], torch.full((2,), 1 - decay), rtol=1e-4, atol=0)


def test_buffers_are_copied_not_averaged() -> None:
    G = network()
    average = Average(Drawn(G=G), 0.9)
    G(torch.randn(2, 1, 8, 8))
    average.update(10_000)
    assert torch.equal(average.shadow["G.1.running_mean"], G[1].running_mean)
    assert average.shadow["G.1.num_batches_tracked"] == 1


def test_in_place_shows_the_average_and_restores_the_weights_bit_for_bit() -> None:
    G = network()
    average = Average(Drawn(G=G), 0.9)
    fill(G, 1 / 3)
    G(torch.randn(2, 1, 8, 8))
    before = {key: t.clone() for key, t in G.state_dict().items()}
    with average.in_place():
        assert all(torch.equal(t, average.shadow[f"G.{key}"]) for key, t in G.state_dict().items())
    assert all(torch.equal(t, before[key]) for key, t in G.state_dict().items())


def test_in_place_restores_the_weights_after_an_error() -> None:
    G = network()
    average = Average(Drawn(G=G), 0.9)
    fill(G, 7.0)
    with pytest.raises(ZeroDivisionError), average.in_place():
        1 / 0  # noqa: B018
    assert (G[0].weight == 7).all()


def test_with_decay_zero_nothing_is_kept() -> None:
    G = network()
    average = Average(Drawn(G=G), 0.0)
    fill(G, 3.0)
    average.update(5)
    with average.in_place():
        assert (G[0].weight == 3).all()
    assert average.state_dict() == {}


def test_its_state_goes_on_in_another_one() -> None:
    G = network()
    old, new = Average(Drawn(G=G), 0.9), Average(Drawn(G=network(seed=1)), 0.9)
    fill(G, 1.0)
    old.update(3)
    new.load_state_dict(old.state_dict())
    assert all(torch.equal(t, old.shadow[key]) for key, t in new.shadow.items())
    new.shadow["G.0.weight"].zero_()
    assert old.shadow["G.0.weight"].any()


def test_several_networks_are_kept_apart() -> None:
    average = Average(Drawn(G=network(0), F=network(1)), 0.5)
    assert not torch.equal(average.shadow["G.0.weight"], average.shadow["F.0.weight"])
