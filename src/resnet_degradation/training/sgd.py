"""Stochastic gradient descent that does not load torch's compiler."""

from inspect import unwrap

import torch


class SGD(torch.optim.SGD):
    """Has the arithmetic and state of torch.optim.SGD, but starts a second faster.

    torch wraps these methods to exclude them from torch.compile. The first call of a wrapper
    imports the whole compiler. No run needs it, because the optimizer is not compiled.
    """

    add_param_group = unwrap(torch.optim.SGD.add_param_group)
    zero_grad = unwrap(torch.optim.SGD.zero_grad)
    state_dict = unwrap(torch.optim.SGD.state_dict)
    load_state_dict = unwrap(torch.optim.SGD.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.SGD.step))
