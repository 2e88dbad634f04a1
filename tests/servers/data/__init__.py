"""Made-up data for throwaway servers: the two sample systems, hostile databases, bulk, folders, and fingerprints."""

from tests.servers.data.bulk import grow_mysql, grow_postgres
from tests.servers.data.chronoretrace import fill_chronoretrace
from tests.servers.data.fingerprint import Fingerprint
from tests.servers.data.fingerprint_mysql import fingerprint_mysql
from tests.servers.data.fingerprint_postgres import fingerprint_postgres
from tests.servers.data.folder import describe_folder, fill_folder
from tests.servers.data.hostile_mysql import fill_hostile_mysql
from tests.servers.data.hostile_postgres import fill_hostile_postgres
from tests.servers.data.keys import fill_redis, fingerprint_redis
from tests.servers.data.kindergarten import fill_kindergarten

__all__ = [
    "Fingerprint",
    "describe_folder",
    "fill_chronoretrace",
    "fill_folder",
    "fill_hostile_mysql",
    "fill_hostile_postgres",
    "fill_kindergarten",
    "fill_redis",
    "fingerprint_mysql",
    "fingerprint_postgres",
    "fingerprint_redis",
    "grow_mysql",
    "grow_postgres",
]
