"""What an analysis leaves behind."""

from pathlib import Path

from helper import write_json


def put_report(data: Path, run: str, dataset: str, accuracy: float, **more: object) -> Path:
    """What an analysis leaves behind, as far as the pictures of many runs use it."""
    _, model, hyperparameter_set = (*run.split("__"), "", "")[:3]
    trained = {
        "model": model,
        "hyperparameter_set": hyperparameter_set,
        "parameters": 1000,
        "seconds": 1.5,
        "epochs": 5,
        "settings": {"epochs": 5, "learning_rate": 0.001, "priority": 0},
        **more.pop("trained", {}),
    }
    report = {
        "run": run,
        "checkpoint_sha256": f"of {run}",
        "dataset": dataset,
        "dataset_sha256": f"of {dataset}",
        "accuracy": accuracy,
        "loss": 1 - accuracy,
        "test_images": 60,
        "trained": trained,
        **more,
    }
    path = data / "model_analysis_results" / f"{run}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report)
    return path
