"""What Schemathesis would do to itself."""

import itertools

import schemathesis
from urllib3.util import connection

# Portico counts wrong tokens by address, and refuses everybody from where too many came. Hundreds are
# sent here, each to be refused for what it is; with `Connection: close`, each comes from elsewhere.
_addresses = (f"127.{a}.{b}.{c}" for a, b, c in itertools.product(range(1, 255), repeat=3))
_create = connection.create_connection


def _create_connection(address, timeout=None, source_address=None, socket_options=None):
    return _create(address, timeout, (next(_addresses), 0), socket_options)


connection.create_connection = _create_connection


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """It finds its own token in the list of them, and revokes it."""
    if case.method == "DELETE" and (case.path_parameters or {}).get("id") == "schemathesis":
        case.path_parameters["id"] = "another"
