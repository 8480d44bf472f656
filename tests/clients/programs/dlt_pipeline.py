"""Load lists and events with dlt's REST source into DuckDB, twice.

The arguments are the base URL of an emulator, and a folder to work in.
"""

import json
import sys

import dlt
from dlt.sources.rest_api import rest_api_source

HOST, FOLDER = sys.argv[1:3]


def source():
    """Return a source of four lists and of the events since the beginning of the year."""
    return rest_api_source(
        {
            "client": {
                "base_url": f"{HOST}/api/projects/1/",
                "auth": {"type": "bearer", "token": "phx_emulator"},
                "paginator": {"type": "json_link", "next_url_path": "next"},
            },
            "resource_defaults": {
                "write_disposition": "merge",
                "primary_key": "id",
                "endpoint": {"params": {"limit": 50}, "data_selector": "results"},
                "max_table_nesting": 0,
            },
            "resources": [
                "feature_flags",
                "cohorts",
                "insights",
                {"name": "persons", "endpoint": {"path": "persons/"}},
                {
                    "name": "events",
                    "endpoint": {
                        "path": "events/",
                        "params": {"after": "2026-01-01", "limit": 500},
                    },
                },
            ],
        }
    )


pipeline = dlt.pipeline(
    "posthog",
    destination=dlt.destinations.duckdb(f"{FOLDER}/warehouse.duckdb"),
    dataset_name="posthog",
    pipelines_dir=f"{FOLDER}/pipelines",
)
counts = []
for _ in range(2):
    pipeline.run(source())
    with pipeline.sql_client() as client:
        counts.append(
            {
                name: client.execute_sql(f"SELECT count(*) FROM {name}")[0][0]
                for name in ("feature_flags", "cohorts", "insights", "persons", "events")
            }
        )
print(json.dumps(counts))
