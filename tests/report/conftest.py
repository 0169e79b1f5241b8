import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures saved, in order."""
    figures: list[Figure] = []
    savefig = Figure.savefig

    def record(figure: Figure, *args, **kwargs):
        figures.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures


@pytest.fixture(scope="module", autouse=True)
def figures_stay_empty():
    """They are drawn here."""
