"""`pulumi-resource-kubernetes`: objects of any kind over the API server, and Helm releases through the `helm` program.

Types, inputs, outputs, waits and replacements are those of the official plugin. Refused, by name: charts and manifests
that the official plugin renders itself (`helm.sh/v4`, `yaml`, `kustomize`) and all functions; `...Patch` and `...List`
kinds; client-side apply and rendering to files; the annotations `pulumi.com/waitFor` and `pulumi.com/replaceUnready`;
chart repositories with a password; kubeconfigs that sign in by a program, a password or as somebody else.

On purpose otherwise than the official plugin: nothing is taken over or made anew by accident, as every apply and
delete names the very object of the state; a failed release says why; what a killed run left of a release is repaired;
data of Secrets is secret whatever the program says, and no error message or log line repeats a secret value.
"""
