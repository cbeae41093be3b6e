"""Settings that make each method quick on the digits."""

from unlearn_cli import methods

QUICK = {
    "tmu": {"epochs": 1, "twin_epochs": 1, "twin_fraction": 0.1, "curriculum_epochs": 1, "classifier_epochs": 5},
    "lau": {"epochs": 3},
    "adv-imp": {"epochs": 1, "n_adv": 1, "attack_steps": 3, "attack_step": 1.0},
    "fisher": {"share": 0.1},
    "unsir": {"noise_batch": 16, "noise_steps": 10, "copies": 2},
    "gli": {"epochs": 1, "select": False},
}


def quick(name: str) -> dict[str, object]:
    """One epoch, where no more is known of a method."""
    return QUICK.get(name, {"epochs": 1} if "epochs" in methods.get(name).settings else {})
