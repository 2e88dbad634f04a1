"""One namespace of a Kubernetes cluster, from a plain endpoint: the client, and errors a person can act on.

Imported inside the functions that need it: the client library takes a second to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.errors import ConnectionUnknown, SourceError

TIMEOUT_S = (10, 60)
"""To connect, and between two reads of an answer, in seconds."""


def connect_cluster(endpoint: Endpoint) -> client.ApiClient:
    """A client for the connection's cluster, by the same extras as Airflow's ``kubernetes`` connection:
    ``in_cluster``, ``kube_config_path``, ``kube_config`` (JSON or YAML text), ``cluster_context``; or ``host`` with a
    bearer token as the password and ``ssl_ca_cert`` in the extra. Without any, the default kubeconfig.

    Errors: ``ConnectionUnknown``.
    """
    settings = client.Configuration()
    settings.retries = urllib3.Retry(total=0)  # the task has its own
    extra = endpoint.extra
    context = extra.get("cluster_context") or None
    try:
        if extra.get("in_cluster"):
            config.load_incluster_config(client_configuration=settings)
        elif extra.get("kube_config"):
            config.load_kube_config_from_dict(
                _parsed(extra["kube_config"]), context=context, client_configuration=settings
            )
        elif endpoint.host and endpoint.secret:
            settings.host = (
                endpoint.host if "://" in endpoint.host else f"https://{endpoint.host}:{endpoint.port or 6443}"
            )
            settings.api_key = {"authorization": f"Bearer {endpoint.secret}"}
            settings.ssl_ca_cert = extra.get("ssl_ca_cert")
        else:
            config.load_kube_config(
                config_file=extra.get("kube_config_path") or None, context=context, client_configuration=settings
            )
    except (ConfigException, OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        # Not chained: the loader's own message may quote the file, keys and all.
        raise ConnectionUnknown(
            f"connection {endpoint.conn_id!r} leads to no cluster ({type(error).__name__})",
            hint="its extra needs in_cluster, kube_config_path or kube_config; "
            "'kubectl --kubeconfig FILE get namespaces' must work with the same file",
        ) from None
    return client.ApiClient(settings)


def _parsed(kube_config: Any) -> dict[str, Any]:
    content = yaml.safe_load(kube_config) if isinstance(kube_config, str) else kube_config
    if not isinstance(content, dict):
        raise TypeError("kube_config is not a mapping")
    return content


@contextmanager
def told(endpoint: Endpoint, what: str) -> Iterator[None]:
    """Say in one sentence what the API refused. ``what`` completes "can't ...": ``read pods of kindergarten``.

    Errors: ``SourceError`` from every failure of a call inside the block, ``status`` in its cause.
    """
    try:
        yield
    except ApiException as error:
        raise SourceError(
            f"can't {what} (connection {endpoint.conn_id}): {mask(reason_of(error), endpoint.secrets())}",
            hint=_hint(error, endpoint),
        ) from error
    except json.JSONDecodeError as error:
        raise SourceError(
            f"can't {what} (connection {endpoint.conn_id}): the answer is not JSON",
            hint="does the connection lead to the API server itself, or to a proxy's page?",
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise SourceError(
            f"can't {what} (connection {endpoint.conn_id}): {mask(str(error), endpoint.secrets())}",
            hint="is the API server up and reachable from this worker?",
        ) from error


def reason_of(error: ApiException) -> str:
    """The API's own sentence: its Status object has one, a proxy's answer doesn't."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


def _hint(error: ApiException, endpoint: Endpoint) -> str:
    if error.status == 401:
        return f"the credentials of connection {endpoint.conn_id} are not accepted: renew them"
    if error.status == 403:
        return "let the account do this: include/kubernetes has a Role for each duty"
    if error.status == 404:
        return "check the name and the namespace in the site file"
    if error.status == 409:
        return "somebody else changed it at the same moment: run the task again"
    return "the API's own words are above"
