"""Process a call of the private API: route, authenticate, authorize, validate, handle."""

from __future__ import annotations

from typing import Any

from posthog_emulator.http.errors import (
    ApiError,
    GeneratedResponseError,
    invalid,
    method_not_allowed,
    not_found,
    unsupported_media,
)
from posthog_emulator.http.messages import FIDELITY_HEADER, Request, Response
from posthog_emulator.objects.routing import OperationPlan, RouteMatch
from posthog_emulator.rate_limits.rate_limits import Caller, RateLimits, charged_buckets, costs
from posthog_emulator.recorder import RecordedRequest
from posthog_emulator.rest.handlers import DEFAULT_HANDLERS
from posthog_emulator.schema.parameters import (
    header_errors,
    query_errors,
    unknown_query_parameters,
)
from posthog_emulator.schema.request_body import RequestBody, typed_fields

from .accounts import Key
from .handler_table import METHOD_NOT_ALLOWED_DETAILS, OPERATION_HANDLERS
from .json_types import is_array, is_object
from .state import KEYS, ORGANIZATIONS, PROJECTS, USERS, ApiCall, EmulatorState

__all__ = ["Dispatcher"]


class Dispatcher:
    """Processes calls of the private API.

    It is synchronous: the emulator holds its lock for each step, so that no other request sees a
    half-made change.

    Args:
        state: The state of the emulator.
        warnings: The list to which warnings about requests are appended.
        rate_limits: The rate limits.
    """

    def __init__(self, state: EmulatorState, warnings: list[str], rate_limits: RateLimits) -> None:
        self._state = state
        self._warnings = warnings
        self._rate_limits = rate_limits

    def prepare(
        self, request: Request, body: RequestBody | ApiError, record: RecordedRequest
    ) -> ApiCall:
        """Route, authenticate, authorize and throttle a request, in the order of the server.

        Args:
            request: The request.
            body: Its parsed body, or the error of parsing it.
            record: The record in which the operation is noted.

        Raises:
            ApiError: The request is rejected.
        """
        match = self._state.router.find(request.path)
        if match is None:
            raise not_found("Endpoint not found.")
        if match.deprecated and self._state.settings.redirect_environments:
            location = ("Location", _canonical_link(request))
            raise ApiError(307, body=b"", headers=[location])
        declared = next(iter(match.methods.values()))[0].operation.path
        if declared.endswith("/") and not request.path.endswith("/"):
            self._warnings.append(f"{request.method} {request.path}: no trailing slash")
        data = body.data if isinstance(body, RequestBody) else None
        key = self._state.accounts.authenticate(request, data)
        try:
            plan = self._select_operation(request, match, data)
        except ApiError as error:
            if error.status == 405:
                # The server rate_limits a request before it looks for the method's handler.
                other = next(iter(match.methods.values()))[0]
                self._throttle(self._api_call(request, other, match, key), data)
            raise
        record.operation = plan.operation.id
        call = self._api_call(request, plan, match, key)
        call.deprecated = match.deprecated
        self._authorize(call)
        self._throttle(call, data)
        # Django REST framework parses the body only when the view reads it: a malformed body
        # without a key is a 401, and counts against the rate limits with one.
        if isinstance(body, ApiError):
            raise body
        call.request_body, call.body = body, body.data
        return call

    def handle(self, call: ApiCall) -> Response:
        """Validate a prepared call and run the handler of its operation.

        Raises:
            ApiError: The call is invalid, or the handler rejects it.
        """
        special = OPERATION_HANDLERS.get(call.operation.id)
        self._check_parameters(call)
        if special is None or special.validates:
            self._check_body(call)
        handler = DEFAULT_HANDLERS[call.plan.kind] if special is None else special.handler
        response = handler(call)
        if call.fidelity == "schema" and self._state.settings.strict_fidelity:
            raise GeneratedResponseError(call.operation.id)
        response.headers.append((FIDELITY_HEADER, call.fidelity))
        response.operation = call.operation
        if call.deprecated:
            response.headers += [
                ("Deprecation", "true"),
                ("Sunset", "Thu, 31 Dec 2026 00:00:00 GMT"),
                ("Link", f'<{_canonical_link(call.request)}>; rel="successor-version"'),
            ]
        return response

    def _api_call(
        self, request: Request, plan: OperationPlan, match: RouteMatch, key: Key
    ) -> ApiCall:
        call = ApiCall(
            state=self._state,
            request=request,
            operation=plan.operation,
            plan=plan,
            path_values=(),
            key=key,
            request_body=RequestBody(),
        )
        call.path_values = self._resolve_values(call, match)
        return call

    def _throttle(self, call: ApiCall, body: Any) -> None:
        settings = self._state.settings
        if not settings.rate_limits:
            return
        buckets = charged_buckets(call.operation, body, settings.query_plan)
        if call.key.value.startswith("pha_"):
            # Buckets per key count personal API keys only: OAuth tokens are not limited by them.
            buckets = tuple(name for name in buckets if self._rate_limits.rates[name].per != "key")
        throttled = self._rate_limits.charge(buckets, self._caller(call), costs(buckets, body))
        if throttled is not None:
            wait = throttled.wait
            headers = [] if wait is None else [("Retry-After", str(wait))]
            raise ApiError(429, detail=throttled.detail, headers=headers)

    def _caller(self, call: ApiCall) -> Caller:
        account = self._state.accounts.account
        owner = call.plan.placeholders[0].template if call.plan.placeholders else None
        return Caller(
            key=call.key.value,
            user=str(account.user_id),
            team=call.path_values[0] if owner == PROJECTS else None,
            organization=call.path_values[0] if owner == ORGANIZATIONS else None,
            item=call.path_values[-1] if len(call.path_values) > 1 else None,
        )

    def _select_operation(self, request: Request, match: RouteMatch, body: Any) -> OperationPlan:
        first = next(iter(match.methods.values()))[0]
        collection = first.collection if first.template.endswith("{}/") else None
        if request.method == "DELETE" and collection is not None and collection.forbids_delete:
            # The server's mixin for soft deletion responds without any body.
            raise ApiError(405, body=b"")
        method = "GET" if request.method == "HEAD" else request.method
        candidates = self._candidates(match, method)
        # Operations with a fixed body, such as soft deletion, share their path and method with
        # the general one. An exact match of the body selects them.
        for plan in candidates:
            if plan.operation.fixed_body is not None and plan.operation.fixed_body == body:
                return plan
        for plan in candidates:
            if plan.operation.fixed_body is None:
                return plan
        if candidates:
            return candidates[0]
        allowed = sorted(method for method in match.methods if self._candidates(match, method))
        if not allowed:
            raise not_found()
        error = method_not_allowed(request.method, allowed)
        error.detail = METHOD_NOT_ALLOWED_DETAILS.get(
            (request.method, first.template), error.detail
        )
        raise error

    def _candidates(self, match: RouteMatch, method: str) -> list[OperationPlan]:
        """Return the operations of a method, those with a literal `@current` or `@me` first."""
        candidates: list[OperationPlan] = []
        for plan in match.methods.get(method, ()):
            literals = [
                (placeholder.literal, value)
                for placeholder, value in zip(plan.placeholders, match.values, strict=True)
                if placeholder.literal
            ]
            if all(literal == value for literal, value in literals):
                candidates.insert(0 if literals else len(candidates), plan)
        return candidates

    def _resolve_values(self, call: ApiCall, match: RouteMatch) -> tuple[str, ...]:
        """Return the values of the path with `@current` and `@me` replaced by ids."""
        account = self._state.accounts.account
        # With a project token in the query string, `@current` is the project of the token.
        token = call.request.query_value("token")
        project = None if token is None else self._state.project_id_for_token(token)
        current = {
            (PROJECTS, "@current"): str(project or account.project_id),
            (ORGANIZATIONS, "@current"): account.organization_id,
            (USERS, "@me"): account.user_uuid,
        }
        pairs = zip(call.plan.placeholders, match.values, strict=True)
        return tuple(
            current.get((placeholder.template, value), value) for placeholder, value in pairs
        )

    def _authorize(self, call: ApiCall) -> None:
        project = organization = None
        own_user = False
        if call.plan.placeholders:
            owner, value = call.plan.placeholders[0].template, call.path_values[0]
            if owner == PROJECTS:
                project = value
            elif owner == ORGANIZATIONS:
                organization = value
            # Any key may read whose it is, and what it may do.
            own_user = owner == USERS and value == self._state.accounts.account.user_uuid
            own_user = own_user or owner == KEYS
        self._state.accounts.authorize(
            call.key,
            call.operation,
            project,
            organization,
            project_exists=project is None or self._state.project_exists(project),
            own_user=own_user,
        )
        call.project_id = int(project) if project is not None else None

    def _warn(self, call: ApiCall, text: str) -> None:
        self._warnings.append(f"{call.operation.id}: {text}")

    def _check_parameters(self, call: ApiCall) -> None:
        strict = call.strict
        for name in unknown_query_parameters(call.operation, call.request):
            self._warn(call, f"unknown query parameter '{name}'")
            if strict:
                raise invalid(
                    f"The emulator rejects the unknown query parameter '{name}', which the server "
                    "ignores. Use Emulator(strict=False) to ignore it as well, as a served "
                    "emulator does by default.",
                    name,
                )
        for error in (
            *query_errors(call.operation, call.request),
            *header_errors(call.operation, call.request),
        ):
            self._warn(call, f"{error.attr}: {error.detail}")
            # A missing required parameter fails on any server, so it fails without strict as well.
            if strict or error.code == "required":
                raise error

    def _check_body(self, call: ApiCall) -> None:
        operation, body = call.operation, call.request_body
        spec = operation.body
        if spec is None:
            has_fields = is_object(body.data) and body.data.keys() - {"personal_api_key"}
            if (has_fields or is_array(body.data)) and operation.fixed_body is None:
                # Only a warning: the schema declares no body for many actions that accept one.
                self._warn(call, "a body was sent, but none is declared")
            return
        if body.empty:
            if spec.required and spec.schema is not None:
                self._validate(call, spec.schema, {})
            return
        declared = "multipart/form-data" if spec.media == "multipart" else "application/json"
        if body.media != declared:
            self._warn(call, f"sent as {body.media}, declared as {declared}")
            if call.strict:
                raise unsupported_media(body.media)
        catalogue = self._state.catalogue
        if spec.schema is None or spec.schema not in catalogue:
            return
        if body.media != "application/json":
            call.body = typed_fields(body, catalogue[spec.schema], catalogue)
        self._validate(call, spec.schema, call.body)

    def _validate(self, call: ApiCall, component: str, body: Any) -> None:
        # Schemas forbid unknown fields in some nested objects, but the server does not reject all.
        error = self._state.validators.first_error(
            component, body, "request", unknown_fields=not call.strict
        )
        if error is not None:
            raise error
        declared = self._state.catalogue.properties(self._state.catalogue[component])
        if is_object(body) and declared:
            for name in sorted(body.keys() - declared.keys() - {"personal_api_key"}):
                self._warn(call, f"unknown body field '{name}'")


def _canonical_link(request: Request) -> str:
    return request.link(None, {}).replace("/api/environments/", PROJECTS, 1)
