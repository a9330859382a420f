"""Names on the network: topics, clients, servers.

One tensor topic per server and one result topic per robot, so that nobody receives what is
not theirs. The rendezvous namespace is the one absolute name of the package: robots and
servers live in namespaces of their own and must still meet.
"""

from __future__ import annotations

import re
import secrets

from dnn_offload.errors import ConfigurationError, RefusedError

DEFAULT_RENDEZVOUS = '/dnn_offload'
MAX_NAME = 64
_NAME = re.compile(rf'[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}')
_LIFE = re.compile(r'.+_x[0-9a-f]{4}')
_NAMESPACE = re.compile(r'/[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*')


def is_name(text: str) -> bool:
    """Whether ``text`` can be a server's or a client's name (and so a topic's part)."""
    return _NAME.fullmatch(text) is not None and '__' not in text


def check_name(text: str, what: str) -> str:
    """Give ``text`` back if it is a legal name from the network.

    Raises:
        RefusedError: It is not.
    """
    if not is_name(text):
        raise RefusedError(
            f'{what} has an impossible name',
            given=text[:MAX_NAME + 1],
            allowed=f'letters, digits and single underscores, at most {MAX_NAME}',
        )
    return text


def sanitised(text: str, fallback: str = 'unnamed') -> str:
    """Make a legal name of any text, e.g. of a host name or a namespace."""
    name = re.sub(r'[^A-Za-z0-9]+', '_', text).strip('_')[:MAX_NAME].strip('_')
    if not name:
        return fallback
    return name if name[0].isalpha() else f'n{name}'[:MAX_NAME]


def new_client_id(prefix: str) -> str:
    """Name of one life of a robot's inference process: ``prefix`` and four hex digits.

    Answers meant for a former life go to another topic and so never arrive.
    """
    return f'{sanitised(prefix)[:MAX_NAME - 6].rstrip("_")}_x{secrets.token_hex(2)}'


def same_robot(client: str, other: str) -> bool:
    """Whether two names differ in the life alone; see ``new_client_id``."""
    lives = _LIFE.fullmatch(client), _LIFE.fullmatch(other)
    return client != other and None not in lives and client[:-4] == other[:-4]


def check_rendezvous(namespace: str) -> str:
    """See ``check_namespace``."""
    return check_namespace(namespace, 'rendezvous namespace')


def check_namespace(namespace: str, what: str) -> str:
    """Give an absolute namespace back without a slash at its end.

    Raises:
        ConfigurationError: It is not a legal absolute namespace.
    """
    plain = namespace.rstrip('/')
    if not _NAMESPACE.fullmatch(plain) or '__' in plain:
        raise ConfigurationError(
            f'{what} is not a legal absolute ROS name',
            given=namespace,
            allowed=f'e.g. {DEFAULT_RENDEZVOUS}',
        )
    return plain


def server_status(rendezvous: str) -> str:
    """Topic on which every server says that it is there."""
    return f'{rendezvous}/server_status'


def tensors(rendezvous: str, server: str) -> str:
    """Topic on which one server receives."""
    return f'{rendezvous}/{server}/tensors'


def profile(rendezvous: str, server: str) -> str:
    """Latched topic with one server's measured profile (JSON in std_msgs/String)."""
    return f'{rendezvous}/{server}/profile'


def results(rendezvous: str, client: str) -> str:
    """Topic on which one robot receives acknowledgements and answers."""
    return f'{rendezvous}/{client}/results'
