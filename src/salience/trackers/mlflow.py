"""MLflow: a run in a local SQLite data base, or wherever `uri` says."""

from .base import Tracked, Tracker

LONGEST = 500
"""Letters of a parameter; MLflow's stores refuse much longer ones."""


class MLflow(Tracker):
    """Parameters, the training history and the means of all scores, with the run's folder as a tag.

    Look at it by `mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db`.
    """

    package = "mlflow"

    def __init__(self, uri: str | None = None, experiment: str = "salience"):
        self.uri, self.experiment = uri, experiment

    def track(self, run: Tracked) -> None:
        from mlflow import MlflowClient

        client = MlflowClient(self.uri or f"sqlite:///{(run.outputs / 'mlflow.db').resolve()}")
        known = client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else client.create_experiment(self.experiment)
        made = client.create_run(experiment, run_name=run.name, tags={"folder": str(run.path)})
        identity = made.info.run_id
        for key, text in run.settings().items():
            client.log_param(identity, key, text[:LONGEST])
        for epoch, name, value in run.epochs():
            client.log_metric(identity, name, value, step=epoch)
        for name, value in run.scores():
            client.log_metric(identity, name, value)
        client.set_terminated(identity)
