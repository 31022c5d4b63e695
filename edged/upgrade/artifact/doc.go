// Package artifact fetches and verifies the artefacts that package edged/upgrade puts on a node.
//
// # What an artefact is
//
// An OCI image manifest with artifactType ArtifactType, a configuration of ConfigType (Info) and
// exactly one layer of LayerType: a compressed tar with the two regular files edgecore and edgectl
// and nothing else. An OCI index has one such manifest for each platform. It is
//
//   - in a registry: oci://registry.example.com/edgekit/node:v1.2.3, also with @sha256:...;
//   - behind a URL, as an OCI image layout in an uncompressed tar: https://example.com/node.tar;
//   - or in a file of that form, for example on a USB stick: /media/usb/node.tar.
//
// # Who may sign
//
// The trust folder (Config.Trust, /etc/edgekit/trust) holds what the node trusts:
//
//	trustpolicy.json      the trust policy of notation
//	x509/ca/NAME/*.crt    its trust store (also below truststore/, as notation has it)
//	NAME.pub              public keys (ECDSA P-256, PEM), for signatures of cosign's key pairs
//
// The index or the manifest of the platform must be signed. Nothing in the folder: everything is
// refused. The scope of a registry's artefact in trustpolicy.json is HOST/REPOSITORY; that of a URL
// or a file is LocalScope, or "*". Levels that do not enforce authenticity (audit, skip) are
// refused. No plug-in of notation is ever started.
//
// Times of certificates are judged by Config.Now, which should be the latest time that the node
// has known: a machine without a clock battery wakes up in 1970.
//
// # What is done before a byte is used
//
// The manifests are read with limits, and their digests compared. Then the signature is verified,
// then the configuration is compared with the node, then the free disk is asked, then the layer is
// fetched up to the size that the manifest says, and its digest compared. Only then is it
// unpacked, below an os.Root: two names, regular files, no more bytes than allowed.
//
// # What may pass
//
// A registry or server that cannot be reached, or that answers 5xx, 408 or 429, is asked again,
// with growing pauses, until the context ends. What was fetched is kept, also for the next call;
// a download goes on where it stopped if the server knows ranges. Everything else is final.
//
// A Client may be used by several goroutines, with different folders.
package artifact
