"""The service's own stack with nothing behind it: the most it could answer.

python empty_service.py port
"""

import sys

import fastapi
import uvicorn

from hybridpriv.deploy import prompt

_app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


async def infer(request: fastapi.Request) -> fastapi.Response:
  """Read a body and answer nothing."""
  await request.body()
  return fastapi.Response(b'{"answers":{}}', media_type="application/json")


# As the service does it: without FastAPI's named arguments, which take time.
_app.add_route("/v1/infer", infer, methods=["POST"])


@_app.get("/readyz")
async def ready() -> dict[str, str]:
  """Say that it is there."""
  return {}


if __name__ == "__main__":
  uvicorn.run(
    _app,
    port=int(sys.argv[1]),
    access_log=False,
    log_level="warning",
    http=prompt.Prompt,
    timeout_keep_alive=75,
  )
