// Package credentialprovider gets credentials for images from programs on the node: the
// kubelet's image credential providers, for the registries of clouds.
//
//	cfg, err := credentialprovider.Read("/etc/edgekit/providers.yaml", "/usr/libexec/providers")
//	providers, err := credentialprovider.New(cfg)
//	keys, err := providers.Credentials(ctx, pod, ref)
//
// A [Provider] is a program in a folder that the operator names. It gets a
// CredentialProviderRequest (JSON, credentialprovider.kubelet.k8s.io) on its standard input
// and answers with a CredentialProviderResponse on its standard output:
// https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/
//
// No shell is involved, and nothing from the network becomes an argument: a program's name
// and arguments are in the operator's file, and the image's name is a field of the request.
// A program has one minute and 1 MiB of output; then it is killed with all that it started.
// Each provider runs once at a time.
//
// Answers are kept in memory for as long as they say, by image, registry or for all, and by
// service account where the provider has tokenAttributes.
package credentialprovider
