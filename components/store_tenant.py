"""One store as one component: everything it needs in the cluster, and nothing that another store can touch.

The component registers exactly what a `DesiredStore` says, plus the random credentials, which exist only inside the
engine. This module must never read a file, config or the environment.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any, Final

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random

from components import desired as parts
from components import naming
from components.desired import DesiredStore

PASSWORD_LENGTH: Final = 24
SALT_LENGTH: Final = 64

# A generated value must never change by an edit: MariaDB reads its passwords only at the first start, and a changed
# argument would replace every one of them. Spelled as on the wire, where `ignore_changes` is compared.
GENERATOR_ARGUMENTS: Final = (
    "keepers", "length", "lower", "minLower", "minNumeric", "minSpecial", "minUpper", "number", "numeric",
    "overrideSpecial", "special", "upper",
)  # fmt: skip


class StoreTenant(pulumi.ComponentResource):
    """A namespace with its quota, limits, policies, credentials and one Helm release that serves a shop.

    Outputs: `namespace`, `host`, `url`, `credentials_secret` and `applied`. `applied` is the JSON text of the desired
    state; it resolves only after the release is up, so what it says has really happened.
    """

    namespace: pulumi.Output[str]
    host: pulumi.Output[str]
    url: pulumi.Output[str]
    credentials_secret: pulumi.Output[str]
    applied: pulumi.Output[str]

    def __init__(
        self,
        desired: DesiredStore,
        opts: pulumi.ResourceOptions | None = None,
        *,
        derived: Mapping[str, str],
        taken_over: Collection[str] = (),
    ) -> None:
        """Register the store. `derived` holds the values of `desired.DERIVED_KEYS`, in the clear.

        `taken_over` names the parts that exist already: they are read into the state instead of being made.

        That is for a lost state, and for what a killed engine made and could not note. An object that exists already
        and is not named makes the run fail.
        """
        if set(derived) != set(parts.DERIVED_KEYS):
            raise ValueError(f"derived secrets {sorted(derived)}, not {sorted(parts.DERIVED_KEYS)}")
        super().__init__(naming.COMPONENT_TYPE, desired.store_id, None, opts)
        self._desired = desired
        self._taken_over = frozenset(taken_over)
        self._derived = derived

        namespace = kubernetes.core.v1.Namespace(
            self._logical(parts.NAMESPACE),
            metadata=desired.objects[parts.NAMESPACE]["metadata"],
            opts=self._options(
                pulumi.ResourceOptions(
                    parent=self, custom_timeouts=pulumi.CustomTimeouts(delete=f"{desired.deletion_timeout_s}s")
                ),
                parts.NAMESPACE,
                naming.namespace(desired.store_id),
                # The API server adds a `spec` that no program has.
                ignored=("metadata", "spec"),
            ),
        )
        # Deleting the namespace deletes what is in it; the engine need not ask for each object.
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace], deleted_with=namespace)
        # Pods start only behind the policies and within the quota.
        guards = [*self._guards(inside), self._credentials(inside)]
        release = self._release(pulumi.ResourceOptions(parent=self, depends_on=[namespace, *guards]))

        self.namespace = pulumi.Output.from_input(naming.namespace(desired.store_id))
        self.host = pulumi.Output.from_input(desired.host)
        self.url = pulumi.Output.from_input(desired.url)
        self.credentials_secret = pulumi.Output.from_input(naming.credentials_secret(desired.store_id))
        self.applied = release.status.apply(lambda _: desired.to_json())
        outputs = {
            "namespace": self.namespace,
            "host": self.host,
            "url": self.url,
            "credentialsSecret": self.credentials_secret,
        }
        # What was taken over is what it is; only the next run makes it what is wanted.
        self.register_outputs(outputs if self._taken_over else {**outputs, "applied": self.applied})

    def _logical(self, part: str) -> str:
        return naming.logical_name(self._desired.store_id, part)

    def _options(
        self, opts: pulumi.ResourceOptions, part: str, live_id: str, *, ignored: tuple[str, ...]
    ) -> pulumi.ResourceOptions:
        """Return the options of one resource; of one that is taken over, those that read the live one by its id.

        What differs from the wish is ignored while taking over; the next run brings it in line.
        """
        if part not in self._taken_over:
            return opts
        more = pulumi.ResourceOptions(import_=live_id, ignore_changes=list(ignored))
        return pulumi.ResourceOptions.merge(opts, more)

    def _inside(self, opts: pulumi.ResourceOptions, part: str) -> pulumi.ResourceOptions:
        """Return the options of one object in the store's namespace."""
        metadata = self._desired.objects[part]["metadata"]
        ignored = ("metadata", "spec", "data", "type", "automountServiceAccountToken")
        return self._options(opts, part, f"{metadata['namespace']}/{metadata['name']}", ignored=ignored)

    def _guards(self, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        wanted = self._desired.objects
        account = wanted[parts.SERVICE_ACCOUNT]
        return [
            kubernetes.core.v1.ResourceQuota(
                self._logical(parts.QUOTA), **_inputs(wanted[parts.QUOTA]), opts=self._inside(opts, parts.QUOTA)
            ),
            kubernetes.core.v1.LimitRange(
                self._logical(parts.LIMITS), **_inputs(wanted[parts.LIMITS]), opts=self._inside(opts, parts.LIMITS)
            ),
            kubernetes.core.v1.ServiceAccount(
                self._logical(parts.SERVICE_ACCOUNT),
                metadata=account["metadata"],
                automount_service_account_token=account["automountServiceAccountToken"],
                opts=self._inside(opts, parts.SERVICE_ACCOUNT),
            ),
            *(
                kubernetes.networking.v1.NetworkPolicy(
                    self._logical(part), **_inputs(wanted[part]), opts=self._inside(opts, part)
                )
                for part in parts.POLICY_PARTS
                # One that stays as an older program applied it has not all of them.
                if part in wanted
            ),
        ]

    def _credentials(self, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Register the generated passwords and salts, and the one Secret that holds them and what is derived."""
        values = {key: self._generated(key, PASSWORD_LENGTH) for key in parts.PASSWORD_KEYS}
        # One generator for all salts: each resource costs the engine two writes of its whole state.
        salts = self._generated(parts.SALTS, SALT_LENGTH * len(parts.SALT_KEYS))
        for index, key in enumerate(parts.SALT_KEYS):
            start = index * SALT_LENGTH
            values[key] = _part(salts, start)
        values.update({key: pulumi.Output.secret(value) for key, value in self._derived.items()})
        wanted = self._desired.objects[parts.CREDENTIALS]
        return kubernetes.core.v1.Secret(
            self._logical(parts.CREDENTIALS),
            metadata=wanted["metadata"],
            type=wanted["type"],
            # `data`, not `stringData`: the API server keeps only this form, so a live Secret compares equal.
            data={key: value.apply(_base64) for key, value in values.items()},
            opts=self._inside(opts, parts.CREDENTIALS),
        )

    def _generated(self, part: str, length: int) -> pulumi.Output[str]:
        # Never imported, not even when taking over: the engine would keep the value, as the import's id, in the clear.
        # Letters and digits only: the value passes through PHP, SQL and a shell's history without any escaping.
        generator = random.RandomPassword(
            self._logical(part),
            length=length,
            special=False,
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=list(GENERATOR_ARGUMENTS)),
        )
        return pulumi.Output.secret(generator.result)

    def _release(self, opts: pulumi.ResourceOptions) -> kubernetes.helm.v3.Release:
        release = self._desired.release
        return kubernetes.helm.v3.Release(
            self._logical(parts.RELEASE),
            name=naming.release(self._desired.store_id),
            namespace=naming.namespace(self._desired.store_id),
            chart=release.chart,
            values=dict(release.values),
            max_history=release.max_history,
            timeout=release.timeout_s,
            create_namespace=False,
            description=release.description,
            opts=self._options(
                opts,
                parts.RELEASE,
                f"{naming.namespace(self._desired.store_id)}/{naming.release(self._desired.store_id)}",
                ignored=("chart", "values", "maxHistory", "timeout", "createNamespace", "version"),
            ),
        )


def _inputs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": manifest["metadata"], "spec": manifest["spec"]}


def _part(text: pulumi.Output[str], start: int) -> pulumi.Output[str]:
    return text.apply(lambda whole: whole[start : start + SALT_LENGTH])


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
