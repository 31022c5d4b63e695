// Package bundle writes the archive of "edgectl debug bundle": what somebody elsewhere needs to
// find a fault of a node, and no secret.
//
// # No secrets
//
// The rule is an allow-list. A Source is a file or an answer that is named in edgectl's code;
// nothing else is read: no key, no token, no store, no history of a shell, no Secret, no
// ConfigMap. Of documents that may hold secrets (settings, pods, CNI configurations) only the
// fields that are known to hold none are copied: see [Settings], [Pods] and [CNI]. Text that
// programs have written (logs, the kernel's messages) goes through [Scrub] as well, which
// replaces what looks like a secret.
//
// # Bounds
//
// Each Source has a size, and the archive has one. What is too long loses its beginning (logs)
// or its end, and the manifest says so. A Source that fails is an entry of the manifest, not a
// failure of the bundle: it is made where things are broken.
package bundle
