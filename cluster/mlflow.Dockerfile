# The image of the tracking server and registry, with its login.
#   docker build -f cluster/mlflow.Dockerfile -t metarec-mlflow:3.17.2 .
FROM python:3.11-slim
RUN pip install --no-cache-dir 'mlflow[auth]==3.17.2' && useradd --uid 1000 --create-home mlflow
USER 1000
