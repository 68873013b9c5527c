"""Models without transformer layers in PyTorch, from the papers and without distsim."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tests.torch.required import functional, nn, torch

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Affine(nn.Module):
    """Linear regression, softmax regression, perceptron: one product."""

    def __init__(self, features: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class Mlp(nn.Module):
    def __init__(
        self, *widths: int, activation: Callable[[], nn.Module] = nn.ReLU, bias: bool = True
    ) -> None:
        super().__init__()
        *inner, outputs = widths
        layers: list[nn.Module] = []
        for inputs, width in pairwise(inner):
            layers += [nn.Linear(inputs, width, bias=bias), activation()]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(inner[-1], outputs, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(x))


def alexnet() -> nn.Module:
    """Krizhevsky 2014 (arXiv 1404.5997), one tower."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Flatten(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)),
    )


def vgg16() -> nn.Module:
    """Simonyan 2014 (arXiv 1409.1556), table 1, column D."""
    layers: list[nn.Module] = []
    channels = 3
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers,
        *(nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)),
    )


class Residual(nn.Module):
    """A block of He 2015 (arXiv 1512.03385), figure 5: 3 x 3 twice, or 1 x 1, 3 x 3, 1 x 1."""

    def __init__(
        self, inputs: int, channels: int, stride: int, *, bottleneck: bool, stride_first: bool
    ) -> None:
        super().__init__()
        outputs = channels * (4 if bottleneck else 1)
        if bottleneck:
            early, late = (stride, 1) if stride_first else (1, stride)
            steps = [(inputs, channels, 1, early), (channels, channels, 3, late)]
            steps.append((channels, outputs, 1, 1))
        else:
            steps = [(inputs, channels, 3, stride), (channels, outputs, 3, 1)]
        branch: list[nn.Module] = []
        for source, result, kernel, step in steps:
            conv = nn.Conv2d(source, result, kernel, step, padding=kernel // 2, bias=False)
            branch += [conv, nn.BatchNorm2d(result), nn.ReLU()]
        self.branch = nn.Sequential(*branch[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.branch(x) + self.shortcut(x))


def resnet(
    repeats: tuple[int, int, int, int], *, bottleneck: bool, stride_first: bool = False
) -> nn.Module:
    """He 2015 (arXiv 1512.03385), table 1."""
    channels, layers = 64, []
    for index, repeat in enumerate(repeats):
        width = 64 * 2**index
        for block in range(repeat):
            stride = 2 if index and not block else 1
            layers.append(
                Residual(channels, width, stride, bottleneck=bottleneck, stride_first=stride_first)
            )
            channels = width * (4 if bottleneck else 1)
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        *(nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)),
        *layers,
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)),
    )


class Recurrent(nn.Module):
    """Layers of ``torch.nn.RNN``, ``LSTM`` or ``GRU`` between an embedding, if any, and a head."""

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        layers: int = 1,
        vocab: int = 0,
        both: bool = False,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, inputs) if vocab else nn.Identity()
        self.cells = CELLS[cell](inputs, hidden, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(hidden * (2 if both else 1), outputs)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.cells(self.embedding(x))
        return self.head(states[:, -1] if self.last else states)


class Seq2Seq(nn.Module):
    """RNNsearch of Bahdanau 2014 (arXiv 1409.0473, appendix A): additive attention, deep output.

    Every step of the target is a ``GRUCell`` on token and context. The decoder starts from the
    state of the encoder's reverse direction at the first word.
    """

    def __init__(
        self, embedding: int, hidden: int, vocab: tuple[int, int], energies: int, maxout: int
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(words, embedding) for words in vocab)
        self.encoder = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.initial_state = nn.Linear(hidden, hidden)
        self.attention = nn.ModuleDict(
            {
                "query": nn.Linear(hidden, energies, bias=False),
                "state": nn.Linear(2 * hidden, energies, bias=False),
                "energy": nn.Linear(energies, 1, bias=False),
            }
        )
        self.decoder = nn.GRUCell(embedding + 2 * hidden, hidden)
        self.head = nn.ModuleDict(
            {
                "deep": nn.Linear(hidden + embedding + 2 * hidden, 2 * maxout),
                "output": nn.Linear(maxout, vocab[1]),
            }
        )

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        states, ends = self.encoder(self.embeddings[0](source))
        keys = self.attention["state"](states)
        state = torch.tanh(self.initial_state(ends[1]))
        steps = []
        for token in self.embeddings[1](target).unbind(1):
            inner = torch.tanh(self.attention["query"](state)[:, None] + keys)
            weights = self.attention["energy"](inner).softmax(1)
            context = torch.bmm(weights.transpose(1, 2), states)[:, 0]
            state = self.decoder(torch.cat((token, context), -1), state)
            steps.append(torch.cat((state, token, context), -1))
        deep = self.head["deep"](torch.stack(steps, 1)).unflatten(-1, (-1, 2)).amax(-1)
        return self.head["output"](deep)


class FixedContext(nn.Module):
    """Encoder and decoder of stacked LSTMs with one context for all steps (Cho 2014).

    The context is the last state of the encoder; its product with the gates of the decoder's
    first layer is the same for all steps and made once, and so is that of the first state.
    """

    def __init__(self, embedding: int, hidden: int, depth: int, vocab: tuple[int, int]) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(words, embedding) for words in vocab)
        self.encoder = nn.LSTM(embedding, hidden, depth, batch_first=True)
        self.initial_state = nn.Linear(hidden, hidden)
        self.decoder = nn.ModuleDict(
            {
                "context": nn.Linear(hidden, 4 * hidden, bias=False),
                "token": nn.Linear(embedding, 4 * hidden),
                "state": nn.Linear(hidden, 4 * hidden),
                "upper": nn.LSTM(hidden, hidden, depth - 1, batch_first=True),
            }
        )
        self.head = nn.Linear(hidden, vocab[1])

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        states, _ = self.encoder(self.embeddings[0](source))
        context = states[:, -1]
        state = torch.tanh(self.initial_state(context))
        fixed, memory = self.decoder["context"](context), torch.zeros_like(state)
        steps = []
        for token in self.decoder["token"](self.embeddings[1](target)).unbind(1):
            gates = token + fixed + self.decoder["state"](state)
            enter, forget, write, leave = gates.chunk(4, -1)
            memory = forget.sigmoid() * memory + enter.sigmoid() * write.tanh()
            state = leave.sigmoid() * memory.tanh()
            steps.append(state)
        upper, _ = self.decoder["upper"](torch.stack(steps, 1))
        return self.head(upper)
