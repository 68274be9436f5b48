import pytest
import torch
from torch import Tensor

from i2i.errors import UserError
from i2i.losses.matcher import Matcher
from i2i.losses.matching import feature_matching, l1, total_variation


class Counted:
    """Stands for a feature network: answers with known numbers and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def require(self, channels: int) -> None:
        self.calls.append(f"require {channels}")
        raise UserError("no weights")

    def __call__(self, fake: Tensor, real: Tensor) -> Tensor:
        self.calls.append("features")
        return torch.tensor(2.0)

    def style(self, fake: Tensor, real: Tensor) -> Tensor:
        self.calls.append("style")
        return torch.tensor(3.0)


FAKE, Y = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
MAPS = [[torch.rand(2, 4, 4, 4), torch.rand(2, 1, 3, 3)]], [[torch.rand(2, 4, 4, 4), torch.rand(2, 1, 3, 3)]]


def test_every_term_carries_its_weight() -> None:
    matcher = Matcher(Counted(), Counted(), lambda_l1=5, lambda_feat=7, lambda_perceptual=0.5, lambda_style=0.1, lambda_tv=11)
    terms = matcher(FAKE, Y, *MAPS)
    expected = {
        "l1": 5 * l1(FAKE, Y),
        "feat": 7 * feature_matching(*MAPS),
        "perceptual": torch.tensor(1.0),
        "style": torch.tensor(0.3),
        "tv": 11 * total_variation(FAKE),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_what_weighs_nothing_is_not_computed_and_needs_no_weights() -> None:
    matcher = Matcher()
    matcher.require(3)
    assert matcher(FAKE, Y, *MAPS) == {}
    assert not matcher.needs_real
    assert matcher.smallest == 1


@pytest.mark.parametrize("which", ["perceptual", "style"])
def test_a_feature_network_that_is_needed_and_not_there_is_refused(which) -> None:
    network = Counted()
    with pytest.raises(UserError, match="no weights"):
        Matcher(**{which: network}).require(4)
    assert network.calls == ["require 4"]


def test_a_region_weighs_more_where_it_is_marked() -> None:
    region = torch.zeros(2, 1, 8, 8)
    region[:, :, :4] = 1
    terms = Matcher(lambda_l1=1, lambda_region=3)(FAKE, Y, region=region)
    difference = (FAKE - Y).abs()
    torch.testing.assert_close(terms["l1"], (difference * torch.cat([torch.full((4, 8), 4.0), torch.ones(4, 8)])).mean())
    plain = Matcher(lambda_l1=1, lambda_region=3)(FAKE, Y)
    torch.testing.assert_close(plain["l1"], l1(FAKE, Y))
