"""From a request to its answer: route, authenticate, authorise, read, handle."""

from __future__ import annotations

from typing import Any

from asyncposthog.operation import Operation
from posthog_emulator.features.flags.lookup import project_id_for_token
from posthog_emulator.http.errors import (
    ApiError,
    invalid,
    method_not_allowed,
    not_found,
    unsupported_media,
)
from posthog_emulator.http.messages import FIDELITY, Answer, Request
from posthog_emulator.objects.router import Match
from posthog_emulator.rate_limits.rate_limits import Caller, RateLimits, charged_buckets, costs
from posthog_emulator.recorder import RecordedRequest
from posthog_emulator.rest.handlers import HANDLERS
from posthog_emulator.schema.forms import Form, typed_fields
from posthog_emulator.schema.parameters import header_problems, unknown_query, value_problems

from .accounts import Key
from .handler_table import METHOD_NOT_ALLOWED_DETAILS, OPERATION_HANDLERS
from .json_types import is_array, is_object
from .state import KEYS, ORGANIZATIONS, PROJECTS, USERS, Call, EmulatorState

__all__ = ["Dispatcher"]


class Dispatcher:
    """Answers requests; synchronous, so that a request is one step in the world's history.

    Args:
        world: The state.
        complaints: Where remarks about doubtful requests are noted.
        throttles: The rate limits.
    """

    def __init__(self, world: EmulatorState, complaints: list[str], throttles: RateLimits) -> None:
        self._world = world
        self._complaints = complaints
        self._throttles = throttles

    def admit(self, request: Request, form: Form | ApiError, record: RecordedRequest) -> Call:
        """Find what a request asks for, and whether it may.

        Raises:
            Problem: It is refused.
        """
        match = self._world.router.find(request.path)
        if match is None:
            raise not_found()
        if match.deprecated and self._world.settings.environments_redirect:
            raise ApiError(307, body=b"", headers=[("Location", _modern_link(request))])
        if not request.path.endswith("/"):
            self._complaints.append(f"{request.method} {request.path}: no slash at the end")
        body = form.data if isinstance(form, Form) else None
        key = self._world.accounts.authenticate(request, body)
        try:
            operation = self._select_operation(request, match, body)
        except ApiError as problem:
            if problem.status == 405:
                # The server throttles a request before it looks for the method's handler.
                some = next(iter(match.methods.values()))[0]
                self._throttle(self._call(request, some, match, key), body)
            raise
        record.operation = operation.id
        call = self._call(request, operation, match, key)
        call.deprecated = match.deprecated
        self._authorize(call)
        self._throttle(call, body)
        if isinstance(form, ApiError):
            raise form
        call.form, call.body = form, form.data
        return call

    def answer(self, call: Call) -> Answer:
        """Do what an admitted request asks for.

        Raises:
            Problem: It cannot be done.
        """
        special = OPERATION_HANDLERS.get(call.operation.id)
        self._check_parameters(call)
        if special is None or special.validates:
            self._check_body(call)
        answer = (HANDLERS[call.plan.kind] if special is None else special.handler)(call)
        answer.headers.append((FIDELITY, call.fidelity))
        answer.operation = call.operation
        if call.deprecated:
            answer.headers += [
                ("Deprecation", "true"),
                ("Sunset", "Thu, 31 Dec 2026 00:00:00 GMT"),
                ("Link", f'<{_modern_link(call.request)}>; rel="successor-version"'),
            ]
        return answer

    def _call(self, request: Request, operation: Operation, match: Match, key: Key) -> Call:
        call = Call(
            world=self._world,
            request=request,
            operation=operation,
            plan=self._world.plans.of(operation),
            values=(),
            key=key,
            form=Form(),
        )
        call.values = self._values(call, match)
        return call

    def _throttle(self, call: Call, body: Any) -> None:
        settings = self._world.settings
        if not settings.rate_limits:
            return
        buckets = charged_buckets(call.operation, body, settings.query_plan)
        if call.key.value.startswith("pha_"):
            # What counts by key counts personal keys: an OAuth token has none of these limits.
            buckets = tuple(name for name in buckets if self._throttles.rates[name].per != "key")
        refusal = self._throttles.admit(buckets, self._caller(call), costs(buckets, body))
        if refusal is not None:
            after = [] if refusal.wait is None else [("Retry-After", str(refusal.wait))]
            raise ApiError(429, detail=refusal.detail, headers=after)

    def _caller(self, call: Call) -> Caller:
        account = self._world.accounts.account
        root = call.plan.steps[0].template if call.plan.steps else None
        return Caller(
            key=call.key.value,
            user=str(account.user_id),
            team=call.values[0] if root == PROJECTS else None,
            organization=call.values[0] if root == ORGANIZATIONS else None,
            item=call.values[-1] if len(call.values) > 1 else None,
        )

    def _select_operation(self, request: Request, match: Match, body: Any) -> Operation:
        first = next(iter(match.methods.values()))[0]
        plan = self._world.plans.of(first)
        home = plan.collection if plan.template.endswith("{}/") else None
        if request.method == "DELETE" and home is not None and home.refuses_delete:
            # The mixin that forbids deleting answers without any body.
            raise ApiError(405, body=b"")
        method = "GET" if request.method == "HEAD" else request.method
        candidates = self._candidates(match, method)
        for operation in candidates:
            if operation.fixed_body is not None and operation.fixed_body == body:
                return operation
        for operation in candidates:
            if operation.fixed_body is None:
                return operation
        if candidates:
            return candidates[0]
        allowed = sorted(method for method in match.methods if self._candidates(match, method))
        if not allowed:
            raise not_found()
        refusal = METHOD_NOT_ALLOWED_DETAILS.get((request.method, plan.template))
        problem = method_not_allowed(request.method, allowed)
        if refusal is not None:
            problem.detail = refusal
        raise problem

    def _candidates(self, match: Match, method: str) -> list[Operation]:
        """The operations of a method, those that spell out `@current` or `@me` first."""
        fitting: list[Operation] = []
        for operation in match.methods.get(method, ()):
            steps = self._world.plans.of(operation).steps
            spelled = [
                (s.literal, v) for s, v in zip(steps, match.values, strict=True) if s.literal
            ]
            if all(literal == value for literal, value in spelled):
                fitting.insert(0 if spelled else len(fitting), operation)
        return fitting

    def _values(self, call: Call, match: Match) -> tuple[str, ...]:
        account = self._world.accounts.account
        token = call.request.value("token")
        named = None if token is None else project_id_for_token(self._world, token)
        own = {
            (PROJECTS, "@current"): str(named or account.project_id),
            (ORGANIZATIONS, "@current"): account.organization_id,
            (USERS, "@me"): account.user_uuid,
        }
        steps = zip(call.plan.steps, match.values, strict=True)
        return tuple(own.get((step.template, value), value) for step, value in steps)

    def _authorize(self, call: Call) -> None:
        project = organization = None
        own_user = False
        if call.plan.steps:
            root, value = call.plan.steps[0].template, call.values[0]
            if root == PROJECTS:
                project = value
            elif root == ORGANIZATIONS:
                organization = value
            # What a key may always ask: whose it is, and what it may do.
            own_user = root == USERS and value == self._world.accounts.account.user_uuid
            own_user = own_user or root == KEYS
        self._world.accounts.authorize(
            call.key,
            call.operation,
            project,
            organization,
            project_exists=project is None or self._world.project_exists(project),
            own_user=own_user,
        )
        call.project_id = int(project) if project is not None else None

    def _warn(self, call: Call, text: str) -> None:
        self._complaints.append(f"{call.operation.id}: {text}")

    def _check_parameters(self, call: Call) -> None:
        strict = self._world.settings.strict
        for name in unknown_query(call.operation, call.request):
            text = f"unknown query parameter '{name}'"
            self._warn(call, text)
            if strict:
                raise invalid(f"The emulator refuses an {text}.", name)
        for problem in (
            *value_problems(call.operation, call.request),
            *header_problems(call.operation, call.request),
        ):
            # Outside strict mode only what no server could overlook is refused.
            self._warn(call, f"{problem.attr}: {problem.detail}")
            if strict or problem.code == "required":
                raise problem

    def _check_body(self, call: Call) -> None:
        operation, form = call.operation, call.form
        spec = operation.body
        own_fields = is_object(form.data) and form.data.keys() - {"personal_api_key"}
        if spec is None:
            if (own_fields or is_array(form.data)) and operation.fixed_body is None:
                # Only noted: the schema is silent on the bodies of many actions that take one.
                self._warn(call, "a body was sent, but none is declared")
            return
        if form.empty:
            if spec.required and spec.schema is not None:
                self._validate(call, spec.schema, {})
            return
        wanted = "multipart/form-data" if spec.media == "multipart" else "application/json"
        if form.media != wanted:
            self._warn(call, f"sent as {form.media}, declared as {wanted}")
            if self._world.settings.strict:
                raise unsupported_media(form.media)
        if spec.schema is None or spec.schema not in self._world.catalogue:
            return
        if form.media != "application/json":
            call.body = typed_fields(
                form, self._world.catalogue[spec.schema], self._world.catalogue
            )
        self._validate(call, spec.schema, call.body)

    def _validate(self, call: Call, component: str, body: Any) -> None:
        problem = self._world.validators.problem(component, body, "request")
        if problem is not None:
            raise problem
        known = self._world.catalogue.properties(self._world.catalogue[component])
        if is_object(body) and known:
            for name in sorted(body.keys() - known.keys() - {"personal_api_key"}):
                self._warn(call, f"unknown body field '{name}'")


def _modern_link(request: Request) -> str:
    return request.link(None, {}).replace("/api/environments/", PROJECTS, 1)
