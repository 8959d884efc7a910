"""Our Gaussian processes against GPyTorch's, where it is installed (`pip install gpytorch`)."""

import pytest
import torch

from quickstudy.methods.bayesian import gp
from quickstudy.methods.bayesian.kernels import make_kernel

NOISE = 0.07


@pytest.fixture(scope="module")
def gpytorch():
    return pytest.importorskip("gpytorch", reason="GPyTorch is not installed; it is a peer, not a dependency")


@pytest.fixture(autouse=True)
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def theirs(gpytorch, kind, ours):
    """Their kernel with our numbers."""
    if kind == "rbf":
        kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())
        kernel.outputscale, kernel.base_kernel.lengthscale = ours.log_scale.exp(), ours.log_length.exp()
    elif kind == "cosine":
        kernel = gpytorch.kernels.LinearKernel()
        kernel.variance = ours.log_scale.exp()
    else:
        kernel = gpytorch.kernels.SpectralMixtureKernel(num_mixtures=3, ard_num_dims=1)
        kernel.mixture_weights = ours.log_weight.exp()
        kernel.mixture_means, kernel.mixture_scales = ours.frequency[:, None].abs(), ours.log_width.exp()[:, None]
    return kernel


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["rbf", "cosine", "spectral"])
def test_mean_variance_and_marginal_likelihood_agree_to_nine_digits(gpytorch, kind):
    """The spectral mixture with one feature: with more, theirs is a product of sums and not a sum of products."""
    torch.manual_seed(0)
    features = 1 if kind == "spectral" else 4
    ours = make_kernel(kind, features, 3)
    for weight in ours.parameters():
        weight.data.add_(0.2 * torch.randn_like(weight))
    z, at, y = torch.randn(8, features), torch.randn(5, features), torch.randn(8)
    if kind == "cosine":  # theirs is linear: DKT normalises the features first
        z, at = (torch.nn.functional.normalize(each, dim=-1) for each in (z, at))

    class Model(gpytorch.models.ExactGP):
        def __init__(self, likelihood):
            super().__init__(z, y, likelihood)
            self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), theirs(gpytorch, kind, ours)

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    likelihood.noise = NOISE
    model = Model(likelihood)
    settings = gpytorch.settings
    with torch.no_grad(), settings.fast_computations(False, False, False), settings.cholesky_jitter(0.0, 0.0):
        model.train()
        marginal = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)(model(z), y) * len(y)
        model.eval()
        said = model(at)
        fitted = gp.fit(ours(z, z), y[:, None], NOISE, torch.ones(8, dtype=torch.bool))
        mean, variance = gp.posterior(fitted, ours(at, z), ours.variance(at))
        close = {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(mean[:, 0], said.mean, **close)
        torch.testing.assert_close(variance, said.variance, **close)
        torch.testing.assert_close(gp.log_marginal(fitted)[0], marginal, **close)
